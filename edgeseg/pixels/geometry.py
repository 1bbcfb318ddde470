"""Where a picture lies inside the input, and which low-resolution cells each of its pixels lies between."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from edgeseg.core.spec import Preprocess


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """The part of the input that a picture covers, in input pixels; all of it when the picture is stretched."""

    top: int
    left: int
    height: int
    width: int


def place(size: tuple[int, int], *, input_size: tuple[int, int], preprocess: Preprocess) -> Placement:
    """Return where a picture of `size` (height, width) lies in an input of `input_size`."""
    input_height, input_width = input_size
    if preprocess.resize == "stretch":
        return Placement(top=0, left=0, height=input_height, width=input_width)
    ratio = min(input_height / size[0], input_width / size[1])
    height = max(1, min(input_height, round(size[0] * ratio)))
    width = max(1, min(input_width, round(size[1] * ratio)))
    return Placement(top=(input_height - height) // 2, left=(input_width - width) // 2, height=height, width=width)


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """Along one axis: which of `cells` cells holds each of n pixels, and which pixels lie between a cell and the next.

    `nearest` (n,) int32 is the cell that holds a pixel. Between the centres of cell c and its successor lie the pixels
    `members[c]`, (cells, k) int32, at `weights[c]`, (cells, k) float32 in [0, 1] from the one to the other; a row with
    fewer than k pixels repeats its last one, and a cell without any is False in `has_members`.
    """

    nearest: np.ndarray
    members: np.ndarray
    weights: np.ndarray
    has_members: np.ndarray


@lru_cache(maxsize=64)
def axis(pixels: int, cells: int, start: int, extent: int, input_pixels: int) -> Axis:
    """Return the axis of `pixels` that cover `extent` of `input_pixels` from `start`, on a grid of `cells`.

    Pixel and cell centres lie at half-integers (align_corners=False), and coordinates are clamped at the border: the
    rule of `torch.nn.functional.interpolate` and of OpenCV's INTER_LINEAR.
    """
    cell = (start + (np.arange(pixels) + 0.5) * (extent / pixels)) * (cells / input_pixels)
    position = np.clip(cell - 0.5, 0, cells - 1)
    low = np.floor(position).astype(np.int32)
    first = np.searchsorted(low, np.arange(cells))
    count = np.searchsorted(low, np.arange(cells), side="right") - first
    offsets = np.minimum(np.arange(max(1, count.max())), np.maximum(count - 1, 0)[:, None])
    members = np.minimum(first[:, None] + offsets, pixels - 1)
    return Axis(
        nearest=np.clip(np.floor(cell), 0, cells - 1).astype(np.int32),
        members=members.astype(np.int32),
        weights=(position - low).astype(np.float32)[members],
        has_members=count > 0,
    )
