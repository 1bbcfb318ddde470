"""Labelled areas of annotation tools, and the pixels that they cover.

A pixel belongs to a polygon if its centre lies inside by the even-odd rule, so rings inside rings are holes and
neighbouring polygons with a common edge neither overlap nor leave a gap. Positions are (x, y) in pixels from the top
left corner of the image, whose first pixel has its centre at (0.5, 0.5).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

ELLIPSE_POINTS = 128
FARTHEST = 1e6


class Area(Protocol):
    """Pixels of an image."""

    def mask(self, size: tuple[int, int], /) -> NDArray[np.bool_]:
        """Return which pixels of an image of `size` (height, width) belong to it, (H, W); raises `ValueError`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """An area and the label that an annotator gave to it."""

    label: str
    area: Area


@dataclass(frozen=True, slots=True)
class Polygon:
    """Rings of points (x, y), each closed by its first point; filled by the even-odd rule."""

    rings: tuple[tuple[tuple[float, float], ...], ...]

    def mask(self, size: tuple[int, int], /) -> NDArray[np.bool_]:
        """Return the pixels whose centres lie inside."""
        height, width = size
        # Each edge toggles, in every row that it crosses, the first pixel centre to the right of it; the parity along
        # the row is then the inside.
        toggles = np.zeros((height, width + 1), np.bool_)
        for ring in self.rings:
            if len(ring) < 3:
                raise ValueError(f"a polygon has {len(ring)} points; 3 are needed")
            points = np.array(ring, np.float64)
            if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
                raise ValueError("a polygon's points are not pairs of numbers")
            if np.abs(points).max() > FARTHEST:
                raise ValueError("a polygon's points lie far outside the image")
            for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
                _toggle(toggles, (x0, y0), (x1, y1))
        inside: NDArray[np.bool_] = np.logical_xor.accumulate(toggles, axis=1)[:, :width]
        return inside


def _toggle(toggles: NDArray[np.bool_], start: tuple[float, float], end: tuple[float, float]) -> None:
    (x0, y0), (x1, y1) = (start, end) if start[1] <= end[1] else (end, start)
    height, width = toggles.shape[0], toggles.shape[1] - 1
    # Rows whose centres lie in [y0, y1): a corner belongs to one of its two edges, a level edge to no row.
    rows = np.arange(max(0, math.ceil(y0 - 0.5)), min(height, math.ceil(y1 - 0.5)))
    if not rows.size:
        return
    crossings = x0 + (rows + 0.5 - y0) * ((x1 - x0) / (y1 - y0))
    columns = np.clip(np.ceil(crossings - 0.5), 0, width).astype(np.intp)
    toggles[rows, columns] ^= True


@dataclass(frozen=True, slots=True)
class Bitmap:
    """Pixels drawn one by one: a mask (h, w) whose first pixel lies at row `top` and column `left` of the image."""

    pixels: NDArray[np.bool_]
    top: int = 0
    left: int = 0

    def mask(self, size: tuple[int, int], /) -> NDArray[np.bool_]:
        """Return the pixels; what lies outside the image is left out."""
        found = np.zeros(size, np.bool_)
        high, wide = self.pixels.shape
        top, left = max(0, self.top), max(0, self.left)
        bottom, right = min(size[0], self.top + high), min(size[1], self.left + wide)
        if top < bottom and left < right:
            found[top:bottom, left:right] = self.pixels[
                top - self.top : bottom - self.top, left - self.left : right - self.left
            ]
        return found


@dataclass(frozen=True, slots=True)
class ColumnRuns:
    """COCO's run lengths: alternately pixels outside and inside, column by column; as numbers or as COCO's text."""

    counts: Sequence[int] | str
    size: tuple[int, int]

    def mask(self, size: tuple[int, int], /) -> NDArray[np.bool_]:
        """Return the pixels; raises `ValueError` if the runs are of another size than the image."""
        if self.size != size:
            raise ValueError(f"run lengths are for {self.size[0]}x{self.size[1]}, but the image is {size[0]}x{size[1]}")
        return runs_to_pixels(self.runs(), size=(size[1], size[0])).T

    def runs(self) -> list[int]:
        """Return the run lengths as numbers; raises `ValueError` for a text that holds none."""
        return coco_counts(self.counts) if isinstance(self.counts, str) else list(self.counts)


def runs_to_pixels(counts: Sequence[int], *, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return a mask of `size` (rows, columns) from run lengths along its rows, the first of them outside.

    Raises:
        ValueError: the runs are negative or do not add up to the mask's pixels.
    """
    total = size[0] * size[1]
    if any(count < 0 for count in counts) or sum(counts) != total:
        raise ValueError(f"run lengths add up to {sum(counts)} pixels, but the mask has {total}")
    values = np.zeros(len(counts), np.bool_)
    values[1::2] = True
    return np.repeat(values, counts).reshape(size)


def coco_counts(text: str) -> list[int]:
    """Return run lengths from COCO's compressed text.

    Each number takes characters of 5 bits and a continuation bit, from "0" on, lowest first, the last with the sign;
    from the third on they are differences to the number two before (Lin et al., Microsoft COCO, ECCV 2014; its API).
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"run lengths hold the character {character!r}, which COCO's text does not have")
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("run lengths end in the middle of a number")
    return counts


def box(x0: float, y0: float, x1: float, y1: float) -> Polygon:
    """Return a rectangle between two corners."""
    return Polygon((((x0, y0), (x1, y0), (x1, y1), (x0, y1)),))


def ellipse(cx: float, cy: float, rx: float, ry: float) -> Polygon:
    """Return an ellipse as a polygon of 128 points."""
    angles = (2 * math.pi * index / ELLIPSE_POINTS for index in range(ELLIPSE_POINTS))
    return Polygon((tuple((cx + rx * math.cos(angle), cy + ry * math.sin(angle)) for angle in angles),))


def ring_area(ring: Sequence[tuple[float, float]]) -> float:
    """Return the area in pixels that a ring of points (x, y) encloses, by the shoelace formula."""
    ends = (*ring[1:], *ring[:1])
    return abs(sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in zip(ring, ends, strict=True))) / 2


def rotated(area: Polygon, *, centre: tuple[float, float], degrees: float) -> Polygon:
    """Return a polygon turned clockwise, as one sees it, around a point (x, y)."""
    if not degrees:  # sums and differences with the centre would round
        return area
    (cx, cy), cos, sin = centre, math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return Polygon(
        tuple(
            tuple((cx + (x - cx) * cos - (y - cy) * sin, cy + (x - cx) * sin + (y - cy) * cos) for x, y in ring)
            for ring in area.rings
        )
    )


def polygon_points(flat: Iterable[float]) -> tuple[tuple[float, float], ...]:
    """Return points from a flat list x0, y0, x1, y1 and so on; raises `ValueError` for an odd number of values."""
    values = [float(value) for value in flat]
    if len(values) % 2:
        raise ValueError(f"a polygon has {len(values)} values; x and y alternate, so their number is even")
    return tuple(zip(values[::2], values[1::2], strict=True))
