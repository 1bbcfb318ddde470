"""STDC encoders: Fan et al., "Rethinking BiSeNet For Real-time Semantic Segmentation", CVPR 2021, table 2."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgeseg.models.blocks.layers import ConvNormAct

# Table 2: modules of stages 3 to 5.
REPEATS = {1: (2, 2, 2), 2: (4, 5, 3)}
_STEM_CHANNELS = (32, 64)
STAGE_CHANNELS = (256, 512, 1024)


class ShortTermDense(nn.Module):
    """Short-term dense concatenate module (figure 3): four convolutions of shrinking width, concatenated."""

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        half, quarter, eighth = outputs // 2, outputs // 4, outputs // 8
        self.first = ConvNormAct(inputs, half, kernel=1)
        self.down: nn.Module = nn.Identity()
        self.skip: nn.Module = nn.Identity()
        if stride == 2:
            self.down = ConvNormAct(half, half, stride=2, groups=half, activation=None)
            self.skip = nn.AvgPool2d(3, stride=2, padding=1)
        self.others = nn.ModuleList(
            [ConvNormAct(half, quarter), ConvNormAct(quarter, eighth), ConvNormAct(eighth, eighth)]
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, outputs, h / stride, w / stride) from x (N, inputs, h, w)."""
        first = self.first(x)
        found, y = [self.skip(first)], self.down(first)
        for conv in self.others:
            y = conv(y)
            found.append(y)
        return torch.cat(found, dim=1)


class STDC(nn.Module):
    """STDC1 or STDC2 without its classifier."""

    def __init__(self, variant: int, *, inputs: int = 3) -> None:
        super().__init__()
        first, second = _STEM_CHANNELS
        self.stem1 = ConvNormAct(inputs, first, stride=2)
        self.stem2 = ConvNormAct(first, second, stride=2)
        channels, stages = second, []
        for outputs, repeats in zip(STAGE_CHANNELS, REPEATS[variant], strict=True):
            widths = (channels, *[outputs] * (repeats - 1))
            stages.append(
                nn.Sequential(*(ShortTermDense(w, outputs, stride=2 if at == 0 else 1) for at, w in enumerate(widths)))
            )
            channels = outputs
        self.stage3, self.stage4, self.stage5 = stages
        self.channels = (second, *STAGE_CHANNELS)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return features at strides 4, 8, 16 and 32 of x (N, inputs, H, W)."""
        first = self.stem2(self.stem1(x))
        second = self.stage3(first)
        third = self.stage4(second)
        return first, second, third, self.stage5(third)
