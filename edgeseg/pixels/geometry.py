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
    """For each of n pixels along one axis: the two cells it lies between, and the weight of the second one.

    `low`, `high` are (n,) int32 cell indices, `weight` (n,) float32 in [0, 1]; `nearest` (n,) int32 is the cell that
    holds the pixel.
    """

    low: np.ndarray
    high: np.ndarray
    weight: np.ndarray
    nearest: np.ndarray


@lru_cache(maxsize=64)
def axis(pixels: int, cells: int, start: int, extent: int, input_pixels: int) -> Axis:
    """Return the bilinear neighbours of `pixels` covering `extent` of `input_pixels` from `start`, in `cells` cells.

    Pixel and cell centres lie at half-integers (align_corners=False), and coordinates are clamped at the border: the
    rule of `torch.nn.functional.interpolate` and of OpenCV's INTER_LINEAR.
    """
    cell = (start + (np.arange(pixels) + 0.5) * (extent / pixels)) * (cells / input_pixels)
    position = np.clip(cell - 0.5, 0, cells - 1)
    low = np.floor(position).astype(np.int32)
    return Axis(
        low=low,
        high=np.minimum(low + 1, cells - 1).astype(np.int32),
        weight=(position - low).astype(np.float32),
        nearest=np.clip(np.floor(cell), 0, cells - 1).astype(np.int32),
    )
