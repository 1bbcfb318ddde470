"""Reshape, transpose, reshape in at most four dimensions: channel shuffles, attention heads and windows, exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

MOST_DIMENSIONS = 4
RESHAPES = {
    Tensor.reshape, Tensor.view, torch.reshape, Tensor.flatten, torch.flatten, Tensor.unflatten, torch.unflatten,
    Tensor.squeeze, torch.squeeze, Tensor.unsqueeze, torch.unsqueeze,
}  # fmt: skip
"""Calls that keep the order of the values."""
TRANSPOSES = {Tensor.transpose, torch.transpose, Tensor.swapaxes, torch.swapaxes}
PERMUTES = {Tensor.permute, torch.permute}
UNBINDS = {Tensor.unbind, torch.unbind, Tensor.__iter__}
SELECTS = {Tensor.select, torch.select}
COPIES = {Tensor.contiguous, Tensor.clone, torch.clone}
FOLLOWED = RESHAPES | TRANSPOSES | PERMUTES | UNBINDS | SELECTS | COPIES | {Tensor.__getitem__}


@dataclass(frozen=True, slots=True)
class _View:
    """A tensor of many dimensions: `source` in the shape `sizes`, its axes in the order `axes`."""

    source: Tensor
    sizes: tuple[int, ...]
    axes: tuple[int, ...]


class ViewFollower:
    """Follows tensors of more than four dimensions through views, and makes what comes out of them with fewer."""

    def __init__(self) -> None:
        self._views: dict[int, tuple[Tensor, _View]] = {}

    def result(self, function: Callable[..., Any], args: Sequence[Any], options: Mapping[str, Any]) -> Any:
        """Return what a call of one of `FOLLOWED` returns, made in at most four dimensions if that can be done."""
        made = function(*args, **options)
        given = args[0] if args else options.get("input")
        view = self._views.get(id(given), (None, None))[1]
        if function in RESHAPES and isinstance(given, Tensor):
            return self._reshaped(given, view, made)
        if view is None or not isinstance(given, Tensor):
            return made
        rest, rank = args[1:], given.dim()
        if function in UNBINDS:
            axis = _axis(rest, options, rank=rank)
            return tuple(self._part(view, axis, index, item) for index, item in enumerate(made))
        if function in COPIES:
            return self._kept(made, view)
        if function in TRANSPOSES | PERMUTES:
            order = _order(function, rest, options, rank=rank)
            return self._kept(made, _View(view.source, view.sizes, tuple(view.axes[place] for place in order)))
        selected = _selected(function, rest, options, rank=rank)
        return made if selected is None else self._part(view, *selected, made)

    def _kept(self, made: Tensor, view: _View) -> Tensor:
        self._views[id(made)] = (made, view)  # the tensor too: its id must stay taken
        return made

    def _reshaped(self, given: Tensor, view: _View | None, made: Tensor) -> Tensor:
        if made.dim() > MOST_DIMENSIONS:
            ordered = view is None or view.axes == tuple(range(len(view.axes)))
            source = given if view is None else view.source
            return self._kept(made, _View(source, tuple(made.shape), tuple(range(made.dim())))) if ordered else made
        if view is None:
            return made
        sizes, order, _ = _merged(view, keep=None)
        if max(len(sizes), len(order)) > MOST_DIMENSIONS:
            return made
        return view.source.reshape(sizes).permute(order).reshape(made.shape)

    def _part(self, view: _View, axis: int, index: int, made: Tensor) -> Tensor:
        sizes, order, place = _merged(view, keep=view.axes[axis])
        if len(sizes) > MOST_DIMENSIONS or made.dim() > MOST_DIMENSIONS:
            return made
        return view.source.reshape(sizes).permute(order).select(place, index).reshape(made.shape)


def _merged(view: _View, *, keep: int | None) -> tuple[list[int], list[int], int]:
    """Return the same view in as few dimensions as possible: sizes, the order of its axes, where `keep` ends up.

    Axes of size 1 go, and axes that stay neighbours become one; the axis `keep` stays alone.
    """
    left = [axis for axis in view.axes if axis == keep or not _is_one(view.sizes[axis])]
    rank_of = {axis: place for place, axis in enumerate(sorted(left))}
    groups: list[list[int]] = []
    for axis in left:
        neighbours = bool(groups) and rank_of[axis] == rank_of[groups[-1][-1]] + 1
        if neighbours and keep not in (axis, groups[-1][-1]):
            groups[-1].append(axis)
        else:
            groups.append([axis])
    stored = sorted(groups)
    sizes = [math.prod(view.sizes[axis] for axis in group) for group in stored]
    place = next((place for place, group in enumerate(groups) if group == [keep]), 0)
    return sizes or [1], [stored.index(group) for group in groups] or [0], place


def _is_one(size: object) -> bool:
    return isinstance(size, int) and size == 1


def _axis(rest: Sequence[Any], options: Mapping[str, Any], *, rank: int) -> int:
    return int(options.get("dim", rest[0] if rest else 0)) % rank


def _order(
    function: Callable[..., Any], rest: Sequence[Any], options: Mapping[str, Any], *, rank: int
) -> tuple[int, ...]:
    if function in PERMUTES:
        given = options.get("dims", rest[0] if len(rest) == 1 and not isinstance(rest[0], int) else rest)
        return tuple(int(axis) % rank for axis in given)
    names = (("dim0", "axis0"), ("dim1", "axis1"))
    found = [options.get(a, options.get(b, rest[at] if at < len(rest) else 0)) for at, (a, b) in enumerate(names)]
    first, second = (int(axis) % rank for axis in found)
    order = list(range(rank))
    order[first], order[second] = order[second], order[first]
    return tuple(order)


def _selected(
    function: Callable[..., Any], rest: Sequence[Any], options: Mapping[str, Any], *, rank: int
) -> tuple[int, int] | None:
    """Return axis and index of a call that takes one slice, None for any other."""
    if function in SELECTS:
        return _axis(rest, options, rank=rank), int(options.get("index", rest[-1] if rest else 0))
    index = rest[0] if rest else None
    return (0, index) if isinstance(index, int) and not isinstance(index, bool) else None
