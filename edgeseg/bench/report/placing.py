"""Places labels beside points without overlaps, inside the frame."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_GAP = 3.0
_ANGLES = (0, 180, 270, 90, 325, 215, 35, 145, 300, 240, 60, 120, 345, 15, 195, 165)
_RADII = (10.0, 16.0, 24.0, 34.0, 46.0, 60.0, 76.0, 94.0, 116.0, 140.0, 170.0)


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle in drawing units; y grows downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box, gap: float = 0.0) -> bool:
        """Return whether the two overlap or are closer than `gap`."""
        apart = self.right + gap <= other.left or other.right + gap <= self.left
        return not (apart or self.bottom + gap <= other.top or other.bottom + gap <= self.top)

    def holds(self, other: Box) -> bool:
        """Return whether the other lies inside."""
        inside = self.left <= other.left and other.right <= self.right
        return inside and self.top <= other.top and other.bottom <= self.bottom


def text_width(text: str, *, font_px: float) -> float:
    """Return an upper estimate of a text's width in a common sans-serif face."""
    narrow = sum(character in "il.,:;|!'()[] 1tfj" for character in text)
    wide = sum(character in "mwMW@%" for character in text)
    return font_px * (0.6 * len(text) - 0.2 * narrow + 0.3 * wide) + 2


def place_labels(
    points: Sequence[tuple[float, float]],
    texts: Sequence[str],
    *,
    frame: Box,
    font_px: float,
    radius: float,
    obstacles: Sequence[Box] = (),
) -> tuple[Box, ...]:
    """Return a box for the label of each point, as close to it as possible without overlaps.

    `obstacles` are kept free too. Greedy, the most crowded points first; each tries sixteen directions at growing
    distances. A label without a free place takes the one that covers least.
    """
    marks = [Box(x - radius, y - radius, x + radius, y + radius) for x, y in points]
    crowded = sorted(range(len(points)), key=lambda i: sum(math.dist(points[i], other) for other in points))
    placed: dict[int, Box] = {}
    for index in crowded:
        width = text_width(texts[index], font_px=font_px)
        spots = [
            _spot(points[index], width, font_px * 1.25, radius=away, angle=angle)
            for away in _RADII
            for angle in _ANGLES
        ]
        taken = [*marks, *obstacles, *placed.values()]
        inside = [spot for spot in spots if frame.holds(spot)] or spots
        free = (spot for spot in inside if not any(spot.meets(other, _GAP) for other in taken))
        placed[index] = next(free, None) or min(inside, key=lambda spot: sum(spot.meets(other) for other in taken))
    return tuple(placed[index] for index in range(len(points)))


def is_clear(boxes: Sequence[Box], *, frame: Box) -> bool:
    """Return whether all boxes lie inside the frame and none over another."""
    apart = not any(box.meets(other) for index, box in enumerate(boxes) for other in boxes[:index])
    return apart and all(frame.holds(box) for box in boxes)


def _spot(point: tuple[float, float], width: float, height: float, *, radius: float, angle: int) -> Box:
    """Return the label's box whose nearest edge lies `radius` from the point in a direction (degrees, clockwise)."""
    dx, dy = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    x = point[0] + dx * (radius + width / 2)
    y = point[1] + dy * (radius + height / 2)
    return Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)
