"""Which channels go: blocks of the least important ones, until the budget holds."""

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

Scope = Literal["global", "uniform"]
SCOPES: tuple[Scope, ...] = ("global", "uniform")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How channels may go: counts stay multiples of `round_to`, and each group keeps at least its `least`.

    `relative` scores compare channels of one group only: a block then counts as its share of what the group still has,
    which keeps narrow groups from being eaten up. Others are losses and count as they are. With `steer` 1 a block's
    importance is divided by what it saves (the knapsack's greedy order), with 0 what it saves plays no part, and in
    between it does so less.
    """

    round_to: int
    least: dict[str, int]
    steer: float
    relative: bool


@dataclass(slots=True)
class Selection:
    """Channels in the order in which they go, `removed[group]` of them are gone; `shapes` is what that leaves."""

    groups: Sequence[ChannelGroup]
    scores: dict[str, Tensor]
    shapes: dict[str, LayerShape]
    rules: Rules
    removed: dict[str, int] = field(default_factory=dict)

    def channels(self) -> dict[str, tuple[int, ...]]:
        """Return the channels that go, by group, sorted."""
        return {
            group.name: tuple(sorted(_order(self.scores[group.name], group)[: self.removed.get(group.name, 0)]))
            for group in self.groups
        }

    def spend(self, price: PriceOf) -> float:
        """Return what the layers that are left cost."""
        return sum(price(shape) for shape in self.shapes.values())


def select_global(selection: Selection, *, price: PriceOf, steer_by: PriceOf, limit: float) -> Selection:
    """Take blocks from all groups in the order of importance (by what they save in `steer_by`) until price <= limit.

    Raises:
        InputError: what the groups must keep costs more than the limit.
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
            saved = _saved(selection, group, count=count, price=steer_by)
            rank = missed / max(saved, 1e-30) ** selection.rules.steer
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


def select_uniform(selection: Selection, *, price: PriceOf, limit: float) -> Selection:
    """Take the same share of every group's channels, the smallest share in hundredths that comes to price <= limit.

    Raises:
        InputError: what the groups must keep costs more than the limit.
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


def _block(group: ChannelGroup, selection: Selection) -> int:
    """Return how many channels go next: down to the next multiple, 0 where the group keeps what it has."""
    left = group.channels - selection.removed.get(group.name, 0)
    step = _step(group, selection.rules)
    count = left % step or step
    return count if left - count >= selection.rules.least[group.name] else 0


def _missed(order: Tensor, *, gone: int, count: int, relative: bool) -> float:
    """Return the importance of the next `count` channels of a group, whose scores are `order`, as they go."""
    missed = float(order[gone : gone + count].sum())
    return missed / max(float(order[gone + count :].sum()), 1e-30) if relative else missed


def _saved(selection: Selection, group: ChannelGroup, *, count: int, price: PriceOf) -> float:
    after = without(selection.shapes, group, count=count, only=True)
    return sum(price(selection.shapes[name]) - price(shape) for name, shape in after.items())


def _order(scores: Tensor, group: ChannelGroup) -> list[int]:
    """Return the channels in the order in which they go: the least important first, in turn from each part."""
    parts = scores.view(group.parts, -1)
    ranked = parts.argsort(dim=1, stable=True)
    starts = torch.arange(group.parts)[:, None] * parts.shape[1]
    return [int(channel) for turn in (ranked + starts).T for channel in turn]


def _step(group: ChannelGroup, rules: Rules) -> int:
    """Return the multiple that a group's channels stay at."""
    return math.lcm(rules.round_to, group.parts)


def _too_small(limit: float, least: float) -> InputError:
    return InputError(
        f"The budget is {limit:.4g}, but what every layer must keep costs {least:.4g}. Give a larger budget, a smaller "
        "floor, or a smaller channel multiple."
    )


def without(
    shapes: dict[str, LayerShape], group: ChannelGroup, *, count: int, only: bool = False
) -> dict[str, LayerShape]:
    """Return shapes after `count` channels of the group are gone; with `only`, just the layers that change."""
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
