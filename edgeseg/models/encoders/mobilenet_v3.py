"""MobileNetV3 encoders: Howard et al., "Searching for MobileNetV3", ICCV 2019, tables 1 and 2, at output stride 16."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from edgeseg.models.blocks.layers import ConvNormAct, divisible

# The reference implementations' batch norm epsilon: pretrained statistics depend on it.
_NORM_EPS = 1e-3


@dataclass(frozen=True, slots=True)
class _Row:
    """One bottleneck line of the paper's tables: kernel, expansion size, output channels, SE, activation, stride."""

    kernel: int
    expanded: int
    outputs: int
    squeeze: bool
    activation: str
    stride: int


RE, HS = "relu", "hardswish"
_STEM_CHANNELS = 16
LAST_CONV_EXPANSION = 6

MOBILENET_V3_LARGE = (
    _Row(3, 16, 16, False, RE, 1),
    _Row(3, 64, 24, False, RE, 2),
    _Row(3, 72, 24, False, RE, 1),
    _Row(5, 72, 40, True, RE, 2),
    _Row(5, 120, 40, True, RE, 1),
    _Row(5, 120, 40, True, RE, 1),
    _Row(3, 240, 80, False, HS, 2),
    _Row(3, 200, 80, False, HS, 1),
    _Row(3, 184, 80, False, HS, 1),
    _Row(3, 184, 80, False, HS, 1),
    _Row(3, 480, 112, True, HS, 1),
    _Row(3, 672, 112, True, HS, 1),
    _Row(5, 672, 160, True, HS, 2),
    _Row(5, 960, 160, True, HS, 1),
    _Row(5, 960, 160, True, HS, 1),
)
MOBILENET_V3_SMALL = (
    _Row(3, 16, 16, True, RE, 2),
    _Row(3, 72, 24, False, RE, 2),
    _Row(3, 88, 24, False, RE, 1),
    _Row(5, 96, 40, True, HS, 2),
    _Row(5, 240, 40, True, HS, 1),
    _Row(5, 240, 40, True, HS, 1),
    _Row(5, 120, 48, True, HS, 1),
    _Row(5, 144, 48, True, HS, 1),
    _Row(5, 288, 96, True, HS, 2),
    _Row(5, 576, 96, True, HS, 1),
    _Row(5, 576, 96, True, HS, 1),
)
_TABLES = {"large": MOBILENET_V3_LARGE, "small": MOBILENET_V3_SMALL}


class SqueezeExcite(nn.Module):
    """Scales each channel by a gate from its global mean; the bottleneck is a quarter of the expansion size."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = divisible(channels / 4)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, hidden, 1)
        self.activation = nn.ReLU()
        self.fc2 = nn.Conv2d(hidden, channels, 1)
        self.gate = nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Return x, (N, C, h, w), times its gates (N, C, 1, 1)."""
        gates: Tensor = self.gate(self.fc2(self.activation(self.fc1(self.pool(x)))))
        return x * gates


class InvertedResidual(nn.Module):
    """One row of the table: expand, depthwise, squeeze and excite, linear projection; a residual where shapes agree."""

    def __init__(
        self, inputs: int, row: _Row, *, stride: int, dilation: int = 1, hardswish: type[nn.Module] = nn.Hardswish
    ) -> None:
        super().__init__()
        act = hardswish if row.activation == HS else nn.ReLU
        self.residual = row.stride == 1 and inputs == row.outputs
        layers: list[nn.Module] = []
        if row.expanded != inputs:
            layers.append(ConvNormAct(inputs, row.expanded, kernel=1, activation=act, eps=_NORM_EPS))
        layers.append(
            ConvNormAct(
                row.expanded,
                row.expanded,
                kernel=row.kernel,
                stride=stride,
                dilation=dilation,
                groups=row.expanded,
                activation=act,
                eps=_NORM_EPS,
            )
        )
        if row.squeeze:
            layers.append(SqueezeExcite(row.expanded))
        layers.append(ConvNormAct(row.expanded, row.outputs, kernel=1, activation=None, eps=_NORM_EPS))
        self.block = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, outputs, h / stride, w / stride) from x (N, inputs, h, w)."""
        y: Tensor = x + self.block(x) if self.residual else self.block(x)
        return y


class MobileNetV3(nn.Module):
    """MobileNetV3 without its classifier at output stride 16: the last stage is dilated after its first row.

    Keys are torchvision's (`features.0.0.weight`, ...), so public weights load. `reduced_tail` halves the channels of
    the last stage and of the last convolution (section 6.4, "RF2"); public weights need it off. `hardswish` is
    that activation's replacement: ReLU for engines without an int8 kernel for it. `dilate_first` dilates the last
    stage's first row as well, as torchvision's segmentation nets do.
    """

    def __init__(
        self,
        variant: str,
        *,
        width: float = 1.0,
        reduced_tail: bool = False,
        hardswish: type[nn.Module] = nn.Hardswish,
        dilate_first: bool = False,
    ) -> None:
        super().__init__()
        rows = segmentation_rows(variant, width=width, reduced_tail=reduced_tail)
        strided = [index for index, row in enumerate(rows) if row.stride == 2]
        channels = divisible(_STEM_CHANNELS * width)
        layers: list[nn.Module] = [ConvNormAct(3, channels, stride=2, activation=hardswish, eps=_NORM_EPS)]
        for index, row in enumerate(rows):
            # The row without its stride still reads its input undilated; only later rows see a finer grid and
            # dilates. So each weight meets the neighbours it was trained on (Chen et al., DeepLab, TPAMI 2018).
            stride = 1 if index == strided[-1] else row.stride
            dilation = 2 if index > strided[-1] or (dilate_first and index == strided[-1]) else 1
            layers.append(InvertedResidual(channels, row, stride=stride, dilation=dilation, hardswish=hardswish))
            channels = row.outputs
        self.channels = LAST_CONV_EXPANSION * channels
        layers.append(ConvNormAct(channels, self.channels, kernel=1, activation=hardswish, eps=_NORM_EPS))
        self.features = nn.Sequential(*layers)
        # The skip is the first block at stride 8, as in torchvision; the auxiliary head sees the last undilated one.
        self.low_index = strided[-3] + 1
        self.low_channels = rows[self.low_index - 1].outputs
        self.middle_index = strided[-1]
        self.middle_channels = rows[self.middle_index - 1].outputs

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return features at strides 8, 16 and 16 (dilated, after the last convolution) of x (N, 3, H, W)."""
        low = self.features[: self.low_index + 1](x)
        middle = self.features[self.low_index + 1 : self.middle_index + 1](low)
        return low, middle, self.features[self.middle_index + 1 :](middle)


def segmentation_rows(variant: str, *, width: float = 1.0, reduced_tail: bool = False) -> tuple[_Row, ...]:
    """Return the table's rows at a width multiplier, the last stage's sizes halved where `reduced_tail` is on.

    Expansion and output sizes of the whole stage are halved: this gives the parameter counts of the paper's
    table 8 (torchvision keeps the expansion size of the stage's first row and has 16 % more).
    """
    table = _TABLES[variant]
    tail = max(index for index, row in enumerate(table) if row.stride == 2)
    return tuple(
        _scaled(row, factor=width / 2 if reduced_tail and index >= tail else width) for index, row in enumerate(table)
    )


def _scaled(row: _Row, *, factor: float) -> _Row:
    return _Row(
        row.kernel,
        divisible(row.expanded * factor),
        divisible(row.outputs * factor),
        row.squeeze,
        row.activation,
        row.stride,
    )
