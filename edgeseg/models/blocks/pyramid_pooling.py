"""Pyramid pooling on fixed grids: average pools whose kernels are Python ints, known when the net is built."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from edgeseg.models.blocks.layers import ConvNormAct, Resize

# An overlap of half a window blurs neighbouring bins about as much as being one bin off moves them.
OVERLAP_COST = 2.0


def fixed_bins(cells: int, bins: int) -> tuple[int, int, int]:
    """Return (bins used, kernel, stride) of an average pool over `cells` that approximates `bins` adaptive bins.

    The stride is floor(cells / bins) and the kernel covers the rest, so that there are exactly `bins` equal windows
    that reach both ends. If bins divides cells, this is the adaptive pool itself. Otherwise equal windows overlap, and
    a neighbouring bin count is used if it overlaps less (16 cells, 6 bins: 4 windows of 4 cells, not 6 windows of 6).
    An axis shorter than `bins` keeps its own cells.
    """
    wanted = min(cells, bins)
    choices = [wanted] if wanted == 1 else range(max(2, wanted - 2), min(cells, wanted + 2) + 1)
    used = min(choices, key=lambda count: (_cost(cells, count=count, wanted=wanted), count))
    stride = cells // used
    return used, cells - (used - 1) * stride, stride


def _cost(cells: int, *, count: int, wanted: int) -> float:
    stride = cells // count
    kernel = cells - (count - 1) * stride
    return abs(count - wanted) / wanted + OVERLAP_COST * (kernel - stride) / (kernel + stride)


def resize_factor(cells: int, *, bins: int) -> float:
    """Return the scale factor that resizes `bins` to exactly `cells`, although the product is rounded down."""
    factor = cells / bins
    return factor if math.floor(bins * factor) == cells else math.nextafter(factor, math.inf)


def resize_between(cells: tuple[int, int], grid: tuple[int, int]) -> nn.Module:
    """Return the bilinear resize by constant factors from a map of `cells` (rows, columns) to one of `grid`."""
    if cells == grid:
        return nn.Identity()
    return Resize(resize_factor(grid[0], bins=cells[0]), resize_factor(grid[1], bins=cells[1]))


class PyramidPooling(nn.Module):
    """Pools to four grids, projects each to a quarter of the channels, resizes back, concatenates and fuses.

    Zhao et al., CVPR 2017, with bins 1, 2, 3, 6. The paper pools adaptively, which converters turn into Gather and
    Where graphs when the bins do not divide the feature map; here the grid is known at construction (see `fixed_bins`),
    the result is the paper's where the bins divide it, and the weights do not depend on it.
    In training mode the single-bin branch needs a batch of at least two images.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        grid: tuple[int, int],
        bins: tuple[int, ...] = (1, 2, 3, 6),
        kernel: int = 1,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        width = inputs // len(bins)
        self.branches = nn.ModuleList(
            _branch(inputs, width, grid=grid, bins=count, align_corners=align_corners) for count in bins
        )
        self.fuse = ConvNormAct(inputs + width * len(bins), outputs, kernel=kernel)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, outputs, h, w) from x (N, inputs, h, w), where (h, w) is the grid the module was built for."""
        y: Tensor = self.fuse(torch.cat([x, *(branch(x) for branch in self.branches)], dim=1))
        return y


def _branch(inputs: int, outputs: int, *, grid: tuple[int, int], bins: int, align_corners: bool) -> nn.Sequential:
    rows, kernel_height, stride_height = fixed_bins(grid[0], bins)
    columns, kernel_width, stride_width = fixed_bins(grid[1], bins)
    return nn.Sequential(
        nn.AvgPool2d((kernel_height, kernel_width), (stride_height, stride_width)),
        ConvNormAct(inputs, outputs, kernel=1),
        Resize(resize_factor(grid[0], bins=rows), resize_factor(grid[1], bins=columns), align_corners=align_corners),
    )
