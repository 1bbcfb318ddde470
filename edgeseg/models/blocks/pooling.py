"""Multi-scale context from pools of fixed sizes: DAPPM, PAPPM, SPPM and ASPP."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgeseg.models.blocks.layers import BATCH_NORM_MOMENTUM, ConvNormAct
from edgeseg.models.blocks.pyramid_pooling import fixed_bins, resize_between

# Kernel, stride and padding of the pools of DDRNet's figure 5; the last branch is the global mean.
POOLS = ((5, 2, 2), (9, 4, 4), (17, 8, 8))


class NormActConv(nn.Sequential):
    """Batch norm, ReLU, convolution: the order of DDRNet's pyramid; the norm cannot be folded."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int = 1, groups: int = 1) -> None:
        super().__init__(
            nn.BatchNorm2d(inputs, momentum=BATCH_NORM_MOMENTUM),
            nn.ReLU(),
            nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False),
        )


class _PoolingBranches(nn.Module):
    """The four pooled branches of DAPPM and PAPPM, each resized back to the grid."""

    def __init__(self, inputs: int, branch: int, *, grid: tuple[int, int]) -> None:
        super().__init__()
        self.scale0 = NormActConv(inputs, branch)
        branches = []
        for kernel, stride, padding in POOLS:
            pooled = (_pooled(grid[0], kernel, stride, padding), _pooled(grid[1], kernel, stride, padding))
            pool = nn.AvgPool2d(kernel, stride, padding)
            branches.append(nn.Sequential(pool, NormActConv(inputs, branch), resize_between(pooled, grid)))
        branches.append(
            nn.Sequential(nn.AdaptiveAvgPool2d(1), NormActConv(inputs, branch), resize_between((1, 1), grid))
        )
        self.scales = nn.ModuleList(branches)


class DAPPM(_PoolingBranches):
    """Deep aggregation pyramid pooling: Pan et al., "Deep Dual-Resolution Networks", T-ITS 2022, figure 5."""

    def __init__(self, inputs: int, branch: int, outputs: int, *, grid: tuple[int, int]) -> None:
        super().__init__(inputs, branch, grid=grid)
        self.process = nn.ModuleList(NormActConv(branch, branch, kernel=3) for _ in self.scales)
        self.compression = NormActConv(branch * (1 + len(self.scales)), outputs)
        self.shortcut = NormActConv(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, outputs, h, w) from x (N, inputs, h, w), where (h, w) is the grid it was built for."""
        found = [self.scale0(x)]
        for scale, process in zip(self.scales, self.process, strict=True):
            found.append(process(scale(x) + found[-1]))
        y: Tensor = self.compression(torch.cat(found, dim=1)) + self.shortcut(x)
        return y


class PAPPM(_PoolingBranches):
    """Parallel aggregation pyramid pooling: Xu et al., "PIDNet", CVPR 2023, figure 6."""

    def __init__(self, inputs: int, branch: int, outputs: int, *, grid: tuple[int, int]) -> None:
        super().__init__(inputs, branch, grid=grid)
        count = len(self.scales)
        self.process = NormActConv(branch * count, branch * count, kernel=3, groups=count)
        self.compression = NormActConv(branch * (1 + count), outputs)
        self.shortcut = NormActConv(inputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, outputs, h, w) from x (N, inputs, h, w), where (h, w) is the grid it was built for."""
        base = self.scale0(x)
        scales = torch.cat([scale(x) + base for scale in self.scales], dim=1)
        y: Tensor = self.compression(torch.cat([base, self.process(scales)], dim=1)) + self.shortcut(x)
        return y


class SPPM(nn.Module):
    """Simple pyramid pooling: Peng et al., "PP-LiteSeg", 2022, section 3.3: the sum of three pools."""

    def __init__(self, inputs: int, outputs: int, *, grid: tuple[int, int], bins: tuple[int, ...] = (1, 2, 4)) -> None:
        super().__init__()
        branches = []
        for count in bins:
            rows, columns = fixed_bins(grid[0], count), fixed_bins(grid[1], count)
            pool = nn.AvgPool2d((rows[1], columns[1]), (rows[2], columns[2]))
            resize = resize_between((rows[0], columns[0]), grid)
            branches.append(nn.Sequential(pool, ConvNormAct(inputs, outputs, kernel=1), resize))
        self.branches = nn.ModuleList(branches)
        self.fuse = ConvNormAct(outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, outputs, h, w) from x (N, inputs, h, w), where (h, w) is the grid it was built for."""
        first, *others = (branch(x) for branch in self.branches)
        total = first
        for part in others:
            total = total + part
        y: Tensor = self.fuse(total)
        return y


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling with the image-level mean: Chen et al., DeepLabv3, 2017, figure 5."""

    def __init__(
        self, inputs: int, outputs: int, *, grid: tuple[int, int], rates: tuple[int, ...] = (6, 12, 18)
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList([ConvNormAct(inputs, outputs, kernel=1)])
        self.branches.extend(ConvNormAct(inputs, outputs, dilation=rate) for rate in rates)
        self.mean = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), ConvNormAct(inputs, outputs, kernel=1), resize_between((1, 1), grid)
        )
        self.fuse = ConvNormAct(outputs * (2 + len(rates)), outputs, kernel=1)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, outputs, h, w) from x (N, inputs, h, w), where (h, w) is the grid it was built for."""
        found = [branch(x) for branch in self.branches]
        y: Tensor = self.dropout(self.fuse(torch.cat([*found, self.mean(x)], dim=1)))
        return y


def _pooled(cells: int, kernel: int, stride: int, padding: int) -> int:
    return (cells + 2 * padding - kernel) // stride + 1
