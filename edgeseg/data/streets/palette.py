"""The eleven CamVid classes, in the order of the 11-class release, and their usual colours (R, G, B)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

CLASSES: tuple[str, ...] = (
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "signsymbol",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
)
PALETTE: tuple[tuple[int, int, int], ...] = (
    (128, 128, 128),
    (128, 0, 0),
    (192, 192, 128),
    (128, 64, 128),
    (0, 0, 192),
    (128, 128, 0),
    (192, 128, 128),
    (64, 64, 128),
    (64, 0, 128),
    (64, 64, 0),
    (0, 128, 192),
)
IGNORE_INDEX = 255

PaintColour = tuple[float, float, float]


def scaled(colour: PaintColour, factor: float) -> PaintColour:
    """Return a lighter or darker colour."""
    b, g, r = colour
    return b * factor, g * factor, r * factor


def colour_of(values: np.ndarray) -> PaintColour:
    """Return three numbers of an array as a colour."""
    b, g, r = (float(v) for v in values)
    return b, g, r


SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, SIGN, FENCE, CAR, PEDESTRIAN, BICYCLIST = range(11)
