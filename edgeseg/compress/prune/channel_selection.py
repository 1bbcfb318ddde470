"""Channel selection: removes blocks of the least important channels until the budget is met."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from edgeseg.compress.prune.channel_groups import ChannelGroup
from edgeseg.core.latency import LayerShape
from edgeseg.errors import InputError

if TYPE_CHECKING:
    from edgeseg.compress.prune.budget import PriceOf

PruningScope = Literal["global", "uniform"]
SCOPES: tuple[PruningScope, ...] = ("global", "uniform")


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectionRules:
    """Rules of removal: channel counts stay multiples of `round_to`, and each group keeps at least `least` channels.

    `relative` scores compare channels of the same group only: a block then counts as its share of the group's remaining
    score, which protects narrow groups. Other scores are losses and are used directly. With `latency_weight` 1 a
    block's importance is divided by its savings (the greedy order for a knapsack), with 0 savings are ignored, and in
    between they count less.
    """

    round_to: int
    least: dict[str, int]
    latency_weight: float
    relative: bool


@dataclass(slots=True)
class ChannelSelection:
    """Channels in the order of removal, of which `removed[group]` are removed; `shapes` are the remaining shapes."""

    groups: Sequence[ChannelGroup]
    scores: dict[str, Tensor]
    shapes: dict[str, LayerShape]
    rules: SelectionRules
    removed: dict[str, int] = field(default_factory=dict)

    def channels(self) -> dict[str, tuple[int, ...]]:
        """Return the removed channels of each group, sorted."""
        return {
            group.name: tuple(sorted(_order(self.scores[group.name], group)[: self.removed.get(group.name, 0)]))
            for group in self.groups
        }

    def spend(self, price: PriceOf) -> float:
        """Return the cost of the remaining layers."""
        return sum(price(shape) for shape in self.shapes.values())


def select_global(selection: ChannelSelection, *, price: PriceOf, weight_by: PriceOf, limit: float) -> ChannelSelection:
    """Remove blocks from all groups in the order of importance per saving in `weight_by`, until price <= limit.

    Raises:
        InputError: the channels that must stay cost more than the limit.
    """
    spent = selection.spend(price)
    orders = {
        group.name: selection.scores[group.name][_order(selection.scores[group.name], group)]
        for group in selection.groups
    }
    while spent > limit:
        best: tuple[float, str] | None = None
        for group in selection.groups:
            count = _block(group, selection)
            if not count:
                continue
            gone = selection.removed.get(group.name, 0)
            missed = _missed(orders[group.name], gone=gone, count=count, relative=selection.rules.relative)
            saved = _saved(selection, group, count=count, price=weight_by)
            rank = missed / max(saved, 1e-30) ** selection.rules.latency_weight
            if best is None or rank < best[0]:
                best = (rank, group.name)
        if best is None:
            raise _too_small(limit, spent)
        group = next(item for item in selection.groups if item.name == best[1])
        count = _block(group, selection)
        spent -= _saved(selection, group, count=count, price=price)
        selection.shapes = without(selection.shapes, group, count=count)
        selection.removed[group.name] = selection.removed.get(group.name, 0) + count
    return selection


def select_uniform(selection: ChannelSelection, *, price: PriceOf, limit: float) -> ChannelSelection:
    """Remove the same share of every group's channels: the smallest, in steps of 0.01, with price <= limit.

    Raises:
        InputError: the channels that must stay cost more than the limit.
    """
    whole = selection.shapes
    for share in range(101):
        selection.shapes, selection.removed = whole, {}
        for group in selection.groups:
            step = _step(group, selection.rules)
            wanted = max(selection.rules.least[group.name], round(group.channels * (1 - share / 100) / step) * step)
            count = max(0, group.channels - wanted)
            selection.removed[group.name] = count
            selection.shapes = without(selection.shapes, group, count=count)
        if selection.spend(price) <= limit:
            return selection
    raise _too_small(limit, selection.spend(price))


def _block(group: ChannelGroup, selection: ChannelSelection) -> int:
    """Return how many channels to remove next, down to the next multiple; 0 if the group cannot lose any."""
    left = group.channels - selection.removed.get(group.name, 0)
    step = _step(group, selection.rules)
    count = left % step or step
    return count if left - count >= selection.rules.least[group.name] else 0


def _missed(order: Tensor, *, gone: int, count: int, relative: bool) -> float:
    """Return the importance of the next `count` channels of a group; `order` are its scores in removal order."""
    missed = float(order[gone : gone + count].sum())
    return missed / max(float(order[gone + count :].sum()), 1e-30) if relative else missed


def _saved(selection: ChannelSelection, group: ChannelGroup, *, count: int, price: PriceOf) -> float:
    after = without(selection.shapes, group, count=count, only=True)
    return sum(price(selection.shapes[name]) - price(shape) for name, shape in after.items())


def _order(scores: Tensor, group: ChannelGroup) -> list[int]:
    """Return the channels in removal order: the least important first, in turn from each part."""
    parts = scores.view(group.parts, -1)
    ranked = parts.argsort(dim=1, stable=True)
    starts = torch.arange(group.parts)[:, None] * parts.shape[1]
    return [int(channel) for turn in (ranked + starts).T for channel in turn]


def _step(group: ChannelGroup, rules: SelectionRules) -> int:
    """Return the multiple that a group's channel count must keep."""
    return math.lcm(rules.round_to, group.parts)


def _too_small(limit: float, least: float) -> InputError:
    return InputError(
        f"The budget is {limit:.4g}, but what every layer must keep costs {least:.4g}. Give a larger budget, a smaller "
        "floor, or a smaller channel multiple."
    )


def without(
    shapes: dict[str, LayerShape], group: ChannelGroup, *, count: int, only: bool = False
) -> dict[str, LayerShape]:
    """Return the shapes without `count` channels of the group; with `only`, just the layers that change."""
    changed: dict[str, LayerShape] = {}
    for member in group.members:
        before = changed.get(member.layer) or shapes.get(member.layer)
        if before is None:
            continue
        less = count * group.per_channel(member)
        changed[member.layer] = dataclasses.replace(
            before,
            inputs=before.inputs - (less if member.side in ("in", "both") else 0),
            outputs=before.outputs - (less if member.side in ("out", "both") else 0),
            groups=before.groups - (less if member.side == "both" else 0),
        )
    return changed if only else {**shapes, **changed}
