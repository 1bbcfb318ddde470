"""Predicts a net's latency from a table of layer times."""

from __future__ import annotations

import bisect
import dataclasses
from typing import TYPE_CHECKING

from edgeseg.errors import InputError

if TYPE_CHECKING:
    from edgeseg.core.latency import LatencyTable, LayerShape


class LatencyModel:
    """Interpolates layer times in ms between the measured widths of a table, and slightly beyond them."""

    def __init__(self, table: LatencyTable) -> None:
        self._engine = table.engine
        self._grids: dict[LayerShape, dict[tuple[int, int], float]] = {}
        for item in table.times:
            self._grids.setdefault(_kind(item.shape), {})[(item.shape.inputs, item.shape.outputs)] = item.ms
        self._known: dict[LayerShape, float] = {}

    def layer_ms(self, shape: LayerShape) -> float:
        """Return the time of one layer.

        Raises:
            InputError: the table has no layer with this kernel, stride and map size.
        """
        if shape not in self._known:
            grid = self._grids.get(_kind(shape))
            if grid is None:
                raise InputError(
                    f"The {self._engine} latency table has no layer of kernel {shape.kernel}, stride {shape.stride}, "
                    f"on {shape.cells[0]}x{shape.cells[1]} cells. Build the table from this checkpoint at this size."
                )
            self._known[shape] = _between(grid, shape)
        return self._known[shape]


def _kind(shape: LayerShape) -> LayerShape:
    """Return the shape without its widths: shapes with equal results can be interpolated."""
    groups = 0 if shape.is_depthwise else shape.groups
    return dataclasses.replace(shape, inputs=0, outputs=0, groups=groups)


def _between(grid: dict[tuple[int, int], float], shape: LayerShape) -> float:
    """Return the bilinear value on the grid, which has all pairs of its inputs and outputs."""
    if shape.is_depthwise:
        line = {inputs: ms for (inputs, outputs), ms in grid.items() if inputs == outputs}
        return _on_line(line, shape.inputs)
    rows: dict[int, dict[int, float]] = {}
    for (inputs, outputs), ms in grid.items():
        rows.setdefault(inputs, {})[outputs] = ms
    return _on_line({inputs: _on_line(row, shape.outputs) for inputs, row in rows.items()}, shape.inputs)


def _on_line(points: dict[int, float], at: int) -> float:
    """Return the value at `at`, interpolated or extrapolated linearly, but never below zero."""
    places = sorted(points)
    if len(places) == 1:
        return points[places[0]]
    right = min(max(bisect.bisect_left(places, at), 1), len(places) - 1)
    low, high = places[right - 1], places[right]
    slope = (points[high] - points[low]) / (high - low)
    return max(0.0, points[low] + slope * (at - low))
