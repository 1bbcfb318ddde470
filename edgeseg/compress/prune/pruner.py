"""Structured pruning: a checkpoint in, a narrower dense net of the same architecture out."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

from edgeseg.compress.prune.batch_norm_recalibration import recalibrate
from edgeseg.compress.prune.budget import Budget, PriceOf, price_of
from edgeseg.compress.prune.channel_groups import ChannelGroup, Dependencies
from edgeseg.compress.prune.channel_selection import (
    SCOPES,
    ChannelSelection,
    PruningScope,
    SelectionRules,
    select_global,
    select_uniform,
)
from edgeseg.compress.prune.importance import Importance, LossFunction, score_channels
from edgeseg.core.latency import LatencyTable, LayerShape
from edgeseg.core.lineage import LineageStep
from edgeseg.core.spec import LayerChannels, ModelSpec
from edgeseg.core.suggestions import unknown
from edgeseg.errors import InputError, UnsupportedError
from edgeseg.graph.layer_shapes import layer_shapes
from edgeseg.models import Checkpoint, Cost, channels_of, cost, save_checkpoint, without_aux
from edgeseg.models.build import build_unpruned
from edgeseg.models.pruned_channels import layer_widths
from edgeseg.train.batch_norm_statistics import restore_batch_norm_statistics

if TYPE_CHECKING:
    from pathlib import Path

    from edgeseg.train.samples import Batch

Measure = Callable[[Checkpoint], float]
"""Measures the latency in ms of a whole net on an engine, with its real artifact."""

# How often a budget in ms is corrected by a measurement, and how far below the budget is close enough.
MEASURED_TRIES = 4
NEAR_ENOUGH = 0.04


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupCut:
    """The channels that a group lost; `layers` are those that became narrower."""

    name: str
    before: int
    after: int
    layers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settings:
    """The settings by which a net was pruned."""

    budget: Budget
    importance: Importance
    scope: PruningScope
    round_to: int
    floor: float
    latency_weight: float
    passes: int
    keep: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """A narrower net in evaluation mode, its spec (with `channels`), and its cost before and after.

    The spec's weights hash is empty until the net is saved. Times are measured by `measure`, if given.
    """

    net: nn.Module
    spec: ModelSpec
    parent: Checkpoint
    before: Cost
    after: Cost
    groups: tuple[GroupCut, ...]
    settings: _Settings
    before_ms: float | None = None
    after_ms: float | None = None


def prune(
    checkpoint: Checkpoint,
    *,
    budget: Budget,
    importance: Importance = "magnitude",
    scope: PruningScope = "global",
    round_to: int = 8,
    batches: Sequence[Batch] = (),
    objective: LossFunction | None = None,
    table: LatencyTable | None = None,
    measure: Measure | None = None,
    keep: tuple[str, ...] = (),
    floor: float = 0.25,
    latency_weight: float | None = None,
    passes: int = 1,
) -> Pruned:
    """Return the checkpoint's net with whole channels removed until the budget is met; the checkpoint is not changed.

    The least important channels by `importance` are removed, over all groups ("global") or the same share of each
    ("uniform"), in blocks that leave multiples of `round_to`. Each group keeps at least `floor` of the architecture's
    own width, classifiers keep their outputs, and groups that contain a layer in `keep` (or below it) are not pruned.
    "taylor" needs `batches` and `objective`; with batches, batch norm statistics are recomputed after each cut. With a
    `table`, savings are counted in that engine's milliseconds instead of the budget's unit; a budget in ms needs one,
    and `measure` corrects it by the time of the whole net. `latency_weight` weighs savings against importance, 0 to 1
    (default: 1 for Taylor, whose scores are losses; else 0.5). With several `passes` the budget is reached in as many
    cuts, and importance is recomputed before each.

    Raises:
        InputError: the budget cannot be met, or the arguments do not fit together.
        UnknownName: there is no such importance, scope or layer in `keep`.
        MissingDependency: torch-pruning is not installed.
    """
    if latency_weight is None:
        latency_weight = 1.0 if importance == "taylor" else 0.5
    settings = _Settings(
        budget=budget,
        importance=importance,
        scope=scope,
        round_to=round_to,
        floor=floor,
        latency_weight=latency_weight,
        passes=passes,
        keep=keep,
    )
    _check(settings, checkpoint)
    price = price_of(budget.unit, table)
    cut = _Cut(
        checkpoint=checkpoint,
        start=_start(checkpoint, batches),
        settings=settings,
        batches=batches,
        objective=objective,
        price=price,
        weight_by=price if table is None else price_of("ms", table),
        shapes=layer_shapes(checkpoint.net, size=checkpoint.spec.size),
    )
    if budget.unit == "ms":
        return _to_time(cut, measure=measure)
    pruned = cut.to(budget.amount * cut.whole())[0]
    return pruned if measure is None else _timed(pruned, measure, before_ms=measure(checkpoint))


def save(pruned: Pruned, folder: Path, *, command: str = "") -> ModelSpec:
    """Write the pruned net as a checkpoint folder, with a record of the pruning, and return its complete spec.

    Raises:
        InputError: the folder exists and was not made by edgeseg.
    """
    from edgeseg.models.lineage import read_lineage, write_lineage

    spec = save_checkpoint(folder, net=pruned.net, spec=pruned.spec)
    write_lineage(folder, (*read_lineage(pruned.parent.folder), lineage_step(pruned, spec=spec, command=command)))
    return spec


def lineage_step(pruned: Pruned, *, spec: ModelSpec, command: str = "") -> LineageStep:
    """Return the lineage step of a pruning for its saved checkpoint, which has the spec `spec`."""
    how = pruned.settings
    metrics = {
        "macs_before": float(pruned.before.macs),
        "macs": float(pruned.after.macs),
        "parameters_before": float(pruned.before.parameters),
        "parameters": float(pruned.after.parameters),
    }
    if pruned.before_ms is not None and pruned.after_ms is not None:
        metrics |= {"ms_before": pruned.before_ms, "ms": pruned.after_ms}
    return LineageStep(
        stage="prune",
        checkpoint=spec.name,
        weights_sha256=spec.weights_sha256,
        parent=pruned.parent.spec.name,
        parent_sha256=pruned.parent.spec.weights_sha256,
        settings={
            f"budget.{how.budget.unit}": how.budget.amount,
            "importance": how.importance,
            "scope": how.scope,
            "round_to": how.round_to,
            "floor": how.floor,
            "latency_weight": how.latency_weight,
            "passes": how.passes,
            "keep": ", ".join(how.keep),
        },
        metrics=metrics,
        command=command,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cut:
    """Cuts a net to a limit."""

    checkpoint: Checkpoint
    start: nn.Module
    settings: _Settings
    batches: Sequence[Batch]
    objective: LossFunction | None
    price: PriceOf
    weight_by: PriceOf
    shapes: dict[str, LayerShape]

    def whole(self) -> float:
        """Return the price of the original net."""
        return sum(map(self.price, self.shapes.values()))

    def to(self, limit: float) -> tuple[Pruned, float]:
        """Return the net cut to price <= limit, in the passes of the settings, and its price."""
        whole, net, shapes = self.whole(), copy.deepcopy(self.start), self.shapes
        groups: tuple[ChannelGroup, ...] = ()
        passes = self.settings.passes
        for index in range(1, passes + 1):
            dependencies = Dependencies(net, size=self.checkpoint.spec.size, keep=self.settings.keep)
            groups = groups or dependencies.groups
            step = limit if index == passes else whole * max(limit / whole, 0.0) ** (index / passes)
            shapes = self._pass(net, dependencies, shapes=shapes, limit=step)
        pruned = _pruned(self.checkpoint, net, settings=self.settings, groups=_cuts(groups, shapes))
        return pruned, sum(map(self.price, shapes.values()))

    def _pass(
        self, net: nn.Module, dependencies: Dependencies, *, shapes: dict[str, LayerShape], limit: float
    ) -> dict[str, LayerShape]:
        """Cut the net once, in place, and return its layers' shapes."""
        settings = self.settings
        start = ChannelSelection(
            groups=dependencies.groups,
            scores=score_channels(
                net,
                dependencies.groups,
                importance=settings.importance,
                size=self.checkpoint.spec.size,
                batches=self.batches,
                objective=self.objective,
            ),
            shapes=shapes,
            rules=SelectionRules(
                round_to=settings.round_to,
                least=_least(self.checkpoint.spec, dependencies.groups, settings),
                latency_weight=settings.latency_weight,
                relative=settings.importance != "taylor",
            ),
        )
        if settings.scope == "uniform":
            chosen = select_uniform(start, price=self.price, limit=limit)
        else:
            chosen = select_global(start, price=self.price, weight_by=self.weight_by, limit=limit)
        dependencies.cut(chosen.channels())
        if self.batches:
            recalibrate(net, self.batches)
        return chosen.shapes


def _start(checkpoint: Checkpoint, batches: Sequence[Batch]) -> nn.Module:
    """Return a copy of the net that allows gradients, with restored batch norm statistics."""
    net = copy.deepcopy(checkpoint.net).eval()
    for parameter in net.parameters():
        parameter.requires_grad_(True)
    if batches:
        restore_batch_norm_statistics(net, [images for images, _ in batches])
    return net


def _check(settings: _Settings, checkpoint: Checkpoint) -> None:
    if settings.scope not in SCOPES:
        raise unknown("scope", settings.scope, SCOPES)
    if (
        min(settings.round_to, settings.passes) < 1
        or not 0 <= settings.floor <= 1
        or not 0 <= settings.latency_weight <= 1
    ):
        raise InputError(
            f"round_to is {settings.round_to}, passes {settings.passes}, floor {settings.floor}, latency_weight "
            f"{settings.latency_weight}: round_to and passes are 1 or more, floor and latency_weight from 0 to 1."
        )
    names = [name for name, _ in checkpoint.net.named_modules() if name]
    for name in settings.keep:
        if name not in names:
            raise unknown("layer to keep", name, names)


def _least(spec: ModelSpec, groups: Sequence[ChannelGroup], settings: _Settings) -> dict[str, int]:
    """Return the fewest channels of each group: a share of the architecture's own width, rounded up to multiples.

    Using the architecture's own width prevents repeated pruning from shrinking a group further and further.
    """
    own = layer_widths(build_unpruned(spec))
    found = {}
    for group in groups:
        step = math.lcm(settings.round_to, group.parts)
        share = int(own[group.name].outputs * settings.floor)
        found[group.name] = min(group.channels, max(step, -(-share // step) * step))
    return found


def _pruned(checkpoint: Checkpoint, net: nn.Module, *, settings: _Settings, groups: tuple[GroupCut, ...]) -> Pruned:
    spec = checkpoint.spec
    plain = build_unpruned(spec)
    channels = channels_of(net, plain=plain)
    _check_widths(net, plain, channels=channels)
    narrower = dataclasses.replace(
        spec,
        name=spec.name if spec.name.endswith("-pruned") else f"{spec.name}-pruned",
        channels=channels,
        weights_sha256="",
    )
    return Pruned(
        net=net.eval(),
        spec=narrower,
        parent=checkpoint,
        before=cost(checkpoint.net, size=spec.size),
        after=cost(net, size=spec.size),
        groups=groups,
        settings=settings,
    )


def _check_widths(net: nn.Module, plain: nn.Module, *, channels: tuple[LayerChannels, ...]) -> None:
    """Raise `UnsupportedError` if a pruned net has a tensor that its spec's channels do not describe."""
    changed = {layer.name for layer in channels}
    own = without_aux(plain).state_dict()
    for key, value in without_aux(net).state_dict().items():
        if key.rpartition(".")[0] not in changed and value.shape != own[key].shape:
            raise UnsupportedError(
                f"{key}: became {tuple(value.shape)} from {tuple(own[key].shape)}, and a checkpoint cannot describe "
                "that. Name the layers around it in keep."
            )


def _cuts(groups: Sequence[ChannelGroup], after: dict[str, LayerShape]) -> tuple[GroupCut, ...]:
    return tuple(
        GroupCut(
            name=group.name,
            before=group.channels,
            after=after[group.name].outputs,
            layers=tuple(dict.fromkeys(member.layer for member in group.members)),
        )
        for group in groups
    )


def _timed(pruned: Pruned, measure: Measure, *, before_ms: float) -> Pruned:
    made = Checkpoint(spec=pruned.spec, net=pruned.net, folder=pruned.parent.folder)
    return dataclasses.replace(pruned, before_ms=before_ms, after_ms=measure(made))


def _to_time(cut: _Cut, *, measure: Measure | None) -> Pruned:
    """Return the net that meets a budget in ms: first by the table, then corrected by measuring the whole net."""
    wanted, layers_ms = cut.settings.budget.amount, cut.whole()
    if measure is None:
        return cut.to(wanted)[0]
    before_ms = measure(cut.checkpoint)
    # The time outside the table (resizes, additions, the engine's overhead) is assumed constant.
    rest = before_ms - layers_ms
    best: Pruned | None = None
    reached = before_ms
    for _ in range(MEASURED_TRIES):
        try:
            found, spent = cut.to(min(layers_ms, wanted - rest))
        except InputError:
            if best is None:
                raise
            break  # a measurement that was off asks for less than every layer must keep; an earlier try met the budget
        pruned = _timed(found, measure, before_ms=before_ms)
        assert pruned.after_ms is not None
        reached = pruned.after_ms
        if reached <= wanted and (best is None or pruned.after.macs > best.after.macs):
            best = pruned
        if wanted * (1 - NEAR_ENOUGH) <= reached <= wanted:
            break
        rest = reached - spent
    if best is None:
        raise InputError(
            f"{wanted:.3g} ms: the pruned net still took {reached:.3g} ms after {MEASURED_TRIES} tries. Give a larger "
            "budget, or measure on a quieter machine."
        )
    return best
