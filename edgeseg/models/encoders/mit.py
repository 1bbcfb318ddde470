"""Mix Transformer (MiT) encoders: Xie et al., "SegFormer", NeurIPS 2021, section 3.1 and table 6.

Written with static shapes: maps are (N, C, h, w) between stages and (N, h * w, C) inside them, attention works on 4-D
tensors, and no shape is read at run time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

MLP_RATIO = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class MitStage:
    """One stage of table 6: patch kernel and stride, channels, blocks, heads, reduction of keys and values."""

    kernel: int
    stride: int
    channels: int
    blocks: int
    heads: int
    reduction: int


MIT_B0 = (
    MitStage(kernel=7, stride=4, channels=32, blocks=2, heads=1, reduction=8),
    MitStage(kernel=3, stride=2, channels=64, blocks=2, heads=2, reduction=4),
    MitStage(kernel=3, stride=2, channels=160, blocks=2, heads=5, reduction=2),
    MitStage(kernel=3, stride=2, channels=256, blocks=2, heads=8, reduction=1),
)


class EfficientAttention(nn.Module):
    """Self-attention whose keys and values a strided convolution reduces (equation 2)."""

    def __init__(self, channels: int, *, heads: int, reduction: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.num_heads = heads
        self.scale = 1.0 / math.sqrt(channels // heads)
        self.grid = grid
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        self.project = nn.Linear(channels, channels)
        self.reduce: nn.Module = nn.Identity()
        self.norm: nn.Module = nn.Identity()
        if reduction > 1:
            self.reduce = nn.Conv2d(channels, channels, reduction, stride=reduction)
            self.norm = nn.LayerNorm(channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (N, L, C) from tokens (N, L, C), where L is the number of cells of the grid."""
        context = tokens
        if isinstance(self.reduce, nn.Conv2d):
            context = self.norm(_to_tokens(self.reduce(_to_map(tokens, self.grid))))
        query, key, value = (
            self._heads(self.query(tokens)),
            self._heads(self.key(context)),
            self._heads(self.value(context)),
        )
        weights = torch.softmax(query @ key.transpose(2, 3) * self.scale, dim=-1)
        y: Tensor = self.project((weights @ value).transpose(1, 2).flatten(2))
        return y

    def _heads(self, x: Tensor) -> Tensor:
        """Return (N, heads, L, C / heads) from x (N, L, C)."""
        y: Tensor = x.unflatten(2, (self.num_heads, -1)).transpose(1, 2)
        return y


class MixFeedForward(nn.Module):
    """Linear, 3x3 depthwise convolution, GELU, linear (equation 3): the convolution replaces positional encoding."""

    def __init__(self, channels: int, *, grid: tuple[int, int]) -> None:
        super().__init__()
        hidden = channels * MLP_RATIO
        self.grid = grid
        self.expand = nn.Linear(channels, hidden)
        self.depthwise = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.activation = nn.GELU()
        self.project = nn.Linear(hidden, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (N, L, C) from tokens (N, L, C)."""
        mixed = _to_tokens(self.depthwise(_to_map(self.expand(tokens), self.grid)))
        y: Tensor = self.project(self.activation(mixed))
        return y


class MixBlock(nn.Module):
    """Attention and feed-forward, each after a layer norm and with a residual."""

    def __init__(self, channels: int, *, heads: int, reduction: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attention = EfficientAttention(channels, heads=heads, reduction=reduction, grid=grid)
        self.norm2 = nn.LayerNorm(channels)
        self.feed_forward = MixFeedForward(channels, grid=grid)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return (N, L, C) from tokens (N, L, C)."""
        tokens = tokens + self.attention(self.norm1(tokens))
        y: Tensor = tokens + self.feed_forward(self.norm2(tokens))
        return y


class MixStage(nn.Module):
    """Overlapped patch merging, then blocks, then a layer norm."""

    def __init__(self, inputs: int, stage: MitStage, *, grid: tuple[int, int]) -> None:
        super().__init__()
        self.grid = grid
        self.merge = nn.Conv2d(inputs, stage.channels, stage.kernel, stride=stage.stride, padding=stage.kernel // 2)
        self.merge_norm = nn.LayerNorm(stage.channels)
        self.blocks = nn.Sequential(
            *(
                MixBlock(stage.channels, heads=stage.heads, reduction=stage.reduction, grid=grid)
                for _ in range(stage.blocks)
            )
        )
        self.norm = nn.LayerNorm(stage.channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, channels, h / stride, w / stride) from x (N, inputs, h, w)."""
        tokens = self.blocks(self.merge_norm(_to_tokens(self.merge(x))))
        return _to_map(self.norm(tokens), self.grid)


class MixTransformer(nn.Module):
    """The four stages of a Mix Transformer for images of `size` (height, width); weights do not depend on the size."""

    def __init__(self, stages: tuple[MitStage, ...] = MIT_B0, *, size: tuple[int, int], inputs: int = 3) -> None:
        super().__init__()
        self.channels = tuple(stage.channels for stage in stages)
        built, stride = [], 1
        for stage in stages:
            stride *= stage.stride
            built.append(MixStage(inputs, stage, grid=(size[0] // stride, size[1] // stride)))
            inputs = stage.channels
        self.stages = nn.ModuleList(built)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return features at strides 4, 8, 16 and 32 of x (N, inputs, H, W)."""
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


def _to_tokens(x: Tensor) -> Tensor:
    """Return (N, h * w, C) from x (N, C, h, w)."""
    return x.flatten(2).transpose(1, 2)


def _to_map(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return (N, C, h, w) from tokens (N, h * w, C)."""
    y: Tensor = tokens.transpose(1, 2).unflatten(2, grid)
    return y
