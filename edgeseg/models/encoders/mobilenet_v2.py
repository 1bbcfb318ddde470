"""MobileNetV2 encoder: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018, table 2."""

from __future__ import annotations

from torch import Tensor, nn

from edgeseg.models.blocks.layers import BATCH_NORM_MOMENTUM, ConvNormAct, divisible

# Table 2: expansion, output channels, repeats, stride of the first repeat.
_BOTTLENECKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_STEM_CHANNELS = 32


class _InvertedResidual(nn.Module):
    """Expand, 3x3 depthwise, linear projection; with a residual where shapes agree. Keys are torchvision's."""

    def __init__(self, inputs: int, outputs: int, *, expansion: int, stride: int, dilation: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.residual = stride == 1 and inputs == outputs
        layers: list[nn.Module] = []
        if expansion > 1:
            layers.append(ConvNormAct(inputs, hidden, kernel=1, activation=nn.ReLU6))
        layers += [
            ConvNormAct(hidden, hidden, stride=stride, dilation=dilation, groups=hidden, activation=nn.ReLU6),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs, momentum=BATCH_NORM_MOMENTUM),
        ]
        self.conv = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, outputs, h / stride, w / stride) from x (N, inputs, h, w)."""
        y: Tensor = x + self.conv(x) if self.residual else self.conv(x)
        return y


class MobileNetV2(nn.Module):
    """MobileNetV2 without its last convolution; `output_stride` 8 or 16 dilates instead of striding further.

    Keys are torchvision's (`features.0.0.weight`, ...), so public weights load.
    """

    def __init__(self, *, width: float = 1.0, output_stride: int = 32, inputs: int = 3) -> None:
        super().__init__()
        channels = divisible(_STEM_CHANNELS * width)
        layers: list[nn.Module] = [ConvNormAct(inputs, channels, stride=2, activation=nn.ReLU6)]
        stride, dilation, ends = 2, 1, {}
        for expansion, outputs, repeats, first_stride in _BOTTLENECKS:
            for repeat in range(repeats):
                step, own_dilation = (first_stride if repeat == 0 else 1), dilation
                if stride * step > output_stride:
                    # The layer without its stride still reads its input undilated; later ones dilate.
                    dilation, step = dilation * step, 1
                stride *= step
                made = divisible(outputs * width)
                layers.append(
                    _InvertedResidual(channels, made, expansion=expansion, stride=step, dilation=own_dilation)
                )
                channels = made
            # By the stride of the stage without dilation.
            ends[stride * dilation] = (len(layers), channels)
        self.features = nn.Sequential(*layers)
        self._ends = tuple(ends[at][0] for at in (4, 8, 16, 32))
        self.channels = tuple(ends[at][1] for at in (4, 8, 16, 32))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return features at strides 4, 8, 16 and 32, the output stride at most, of x (N, inputs, H, W)."""
        found, start = [], 0
        for end in self._ends:
            x = self.features[start:end](x)
            found.append(x)
            start = end
        return found
