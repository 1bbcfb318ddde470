"""The position of an image in the input, and the low-resolution cells around each of its pixels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from edgeseg.core.spec import Preprocess


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """The part of the input that an image covers, in input pixels; the whole input if the image is stretched."""

    top: int
    left: int
    height: int
    width: int


def place(size: tuple[int, int], *, input_size: tuple[int, int], preprocess: Preprocess) -> Placement:
    """Return the position of an image of `size` (height, width) in an input of `input_size`.

    >>> from edgeseg.core.spec import Preprocess
    >>> place((100, 200), input_size=(64, 64), preprocess=Preprocess(resize="letterbox"))
    Placement(top=16, left=0, height=32, width=64)
    """
    input_height, input_width = input_size
    if preprocess.resize == "stretch":
        return Placement(top=0, left=0, height=input_height, width=input_width)
    ratio = min(input_height / size[0], input_width / size[1])
    height = max(1, min(input_height, round(size[0] * ratio)))
    width = max(1, min(input_width, round(size[1] * ratio)))
    return Placement(top=(input_height - height) // 2, left=(input_width - width) // 2, height=height, width=width)


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One axis: the cell, of `cells`, that contains each of n pixels, and the pixels between two cell centres.

    `nearest` (n,) is the cell that contains a pixel. Gap g of the cells + 1 gaps lies between the centres of cells
    `around[g]` and `around[g + 1]`, which are equal at the border. Its pixels start at `starts[g]`; `weights`
    (k, cells + 1) float32 in [0, 1] interpolates from the first cell to the second for the next k pixels. If a gap has
    fewer than k pixels, the remaining weights are 1; `has_pixels` is False for gaps without pixels.
    """

    nearest: NDArray[np.intp]
    around: NDArray[np.intp]
    starts: NDArray[np.intp]
    weights: NDArray[np.float32]
    has_pixels: NDArray[np.bool_]


@lru_cache(maxsize=64)
def axis(pixels: int, cells: int, start: int, extent: int, input_pixels: int) -> Axis:
    """Return the axis of `pixels` that cover `extent` of `input_pixels` from `start`, on a grid of `cells`.

    Pixel and cell centres are at half-integers (align_corners=False), and coordinates are clamped at the border, as in
    `torch.nn.functional.interpolate` and OpenCV's INTER_LINEAR.
    """
    cell = (start + (np.arange(pixels) + 0.5) * (extent / pixels)) * (cells / input_pixels)
    gaps = np.arange(-1, cells)
    gap = np.clip(np.floor(cell - 0.5), -1, cells - 1)
    starts = np.searchsorted(gap, gaps)
    count = np.searchsorted(gap, gaps, side="right") - starts
    most = max(1, count.max())
    window = np.minimum(starts + np.arange(most)[:, None], pixels - 1)
    return Axis(
        nearest=np.clip(np.floor(cell), 0, cells - 1).astype(np.intp),
        around=np.clip(np.arange(-1, cells + 1), 0, cells - 1),
        starts=starts,
        weights=np.clip(cell[window] - 0.5 - gaps, 0, 1).astype(np.float32),
        has_pixels=count > 0,
    )
