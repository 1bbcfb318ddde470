"""EfficientNet-Lite0 encoder: Tan and Le, "EfficientNet", ICML 2019, without squeeze-and-excite and with ReLU6."""

from __future__ import annotations

from torch import Tensor, nn

from edgeseg.models.blocks.layers import BATCH_NORM_MOMENTUM

# Kernel, expansion, output channels, repeats, stride of the first repeat: table 1 of the paper at Lite0's scale.
_STAGES = (
    (3, 1, 16, 1, 1),
    (3, 6, 24, 2, 2),
    (5, 6, 40, 2, 2),
    (3, 6, 80, 3, 2),
    (5, 6, 112, 3, 1),
    (5, 6, 192, 4, 2),
    (3, 6, 320, 1, 1),
)
_STEM_CHANNELS = 32
LITE0_REPEATS = tuple(stage[3] for stage in _STAGES)
"""Blocks of each stage."""
_NORM_EPS = 1e-3


class PaddedConv(nn.Conv2d):
    """A convolution with TensorFlow's SAME padding, as used for training public weights.

    With stride 2 and even sizes, one more row and column is padded after the image than before it.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, dilation: int = 1, groups: int = 1
    ) -> None:
        super().__init__(
            inputs,
            outputs,
            kernel,
            stride,
            padding=dilation * (kernel // 2) if stride == 1 else 0,
            dilation=dilation,
            groups=groups,
            bias=False,
        )
        total = kernel - stride
        self.same = (total // 2, total - total // 2) * 2 if stride > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, outputs, h / stride, w / stride) from x (N, inputs, h, w), h and w multiples of the stride."""
        return super().forward(x if self.same is None else nn.functional.pad(x, self.same))


class LiteBlock(nn.Module):
    """Expand, depthwise, linear projection; with a residual where shapes agree. Keys are timm's."""

    def __init__(
        self, inputs: int, outputs: int, *, kernel: int, expansion: int, stride: int, dilation: int = 1
    ) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.residual = stride == 1 and inputs == outputs
        self.conv_pw = nn.Conv2d(inputs, hidden, 1, bias=False)
        self.bn1 = _norm(hidden)
        self.conv_dw = PaddedConv(hidden, hidden, kernel, stride=stride, dilation=dilation, groups=hidden)
        self.bn2 = _norm(hidden)
        self.conv_pwl = nn.Conv2d(hidden, outputs, 1, bias=False)
        self.bn3 = _norm(outputs)
        self.activation = nn.ReLU6()

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, outputs, h / stride, w / stride) from x (N, inputs, h, w)."""
        y = self.activation(self.bn1(self.conv_pw(x)))
        y = self.activation(self.bn2(self.conv_dw(y)))
        y = self.bn3(self.conv_pwl(y))
        result: Tensor = x + y if self.residual else y
        return result


class SeparableBlock(nn.Module):
    """The first stage's block: depthwise and linear projection, without an expansion. Keys are timm's."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int) -> None:
        super().__init__()
        self.conv_dw = PaddedConv(inputs, inputs, kernel, groups=inputs)
        self.bn1 = _norm(inputs)
        self.conv_pw = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.bn2 = _norm(outputs)
        self.activation = nn.ReLU6()

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, outputs, h, w) from x (N, inputs, h, w)."""
        y: Tensor = self.bn2(self.conv_pw(self.activation(self.bn1(self.conv_dw(x)))))
        return y


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 without its last convolution and classifier; `output_stride` 16 dilates the last stages."""

    def __init__(self, *, inputs: int = 3, output_stride: int = 32) -> None:
        super().__init__()
        self.conv_stem = PaddedConv(inputs, _STEM_CHANNELS, 3, stride=2)
        self.bn1 = _norm(_STEM_CHANNELS)
        self.activation = nn.ReLU6()
        channels, stride, dilation, stages = _STEM_CHANNELS, 2, 1, []
        for kernel, expansion, outputs, repeats, first_stride in _STAGES:
            blocks: list[nn.Module] = []
            for repeat in range(repeats):
                step, own_dilation = (first_stride if repeat == 0 else 1), dilation
                if stride * step > output_stride:
                    # The block without its stride still reads its input undilated; later ones dilate.
                    dilation, step = dilation * step, 1
                stride *= step
                blocks.append(
                    SeparableBlock(channels, outputs, kernel=kernel)
                    if expansion == 1
                    else LiteBlock(
                        channels, outputs, kernel=kernel, expansion=expansion, stride=step, dilation=own_dilation
                    )
                )
                channels = outputs
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*stages)
        self.channels = (24, 40, 112, 320)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return features at strides 4, 8, 16 and 32 of x (N, inputs, H, W)."""
        first = self.blocks[:2](self.activation(self.bn1(self.conv_stem(x))))
        second = self.blocks[2:3](first)
        third = self.blocks[3:5](second)
        return first, second, third, self.blocks[5:](third)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=_NORM_EPS, momentum=BATCH_NORM_MOMENTUM)
