"""Building blocks of the architectures, written for converters with static shapes."""

from __future__ import annotations

import math

from torch import Tensor, nn

# Statistics of a small batch are noisy: a slower running mean than PyTorch's 0.1.
BATCH_NORM_MOMENTUM = 0.03


class ConvNormAct(nn.Sequential):
    """Convolution, batch norm, activation: (N, I, H, W) to (N, O, ceil(H / stride), ceil(W / stride)).

    The members are numbered 0, 1, 2, so that state dicts have torchvision's keys. Without padding (`padded`) the result
    is smaller.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        activation: type[nn.Module] | None = nn.ReLU,
        eps: float = 1e-5,
        padded: bool = True,
    ) -> None:
        padding = dilation * (kernel - 1) // 2 if padded else 0
        layers: list[nn.Module] = [
            nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, groups, bias=False),
            nn.BatchNorm2d(outputs, eps=eps, momentum=BATCH_NORM_MOMENTUM),
        ]
        if activation is not None:
            layers.append(activation())
        super().__init__(*layers)


class DepthwiseSeparable(nn.Sequential):
    """3x3 depthwise and 1x1 pointwise convolution with no non-linearity between them (Fast-SCNN, section 3.2.1).

    `activate_depthwise` puts a ReLU between them all the same.
    """

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1, activate_depthwise: bool = False) -> None:
        between = nn.ReLU if activate_depthwise else None
        super().__init__(
            ConvNormAct(inputs, inputs, stride=stride, groups=inputs, activation=between),
            ConvNormAct(inputs, outputs, kernel=1),
        )


class Resize(nn.Module):
    """Resize by a constant factor, bilinear with pixel centres half-way (align_corners=False) unless told otherwise.

    `nearest` copies the nearest pixel; `align_corners` lays the corner pixels' centres over each other. Both are for
    weights that were trained so elsewhere.
    """

    def __init__(
        self, scale_height: float, scale_width: float, *, nearest: bool = False, align_corners: bool = False
    ) -> None:
        super().__init__()
        self.scale_factor = (float(scale_height), float(scale_width))
        self.mode = "nearest" if nearest else "bilinear"
        self.align_corners = None if nearest else align_corners

    def forward(self, x: Tensor) -> Tensor:
        """Return x, (N, C, h, w), at (N, C, h * scale_height, w * scale_width)."""
        return nn.functional.interpolate(
            x, scale_factor=self.scale_factor, mode=self.mode, align_corners=self.align_corners
        )


class AuxHead(nn.Sequential):
    """An auxiliary classifier on an inner map, for the training loss only: (N, I, h, w) to (N, classes, h, w)."""

    def __init__(self, inputs: int, classes: int, *, hidden: int = 32) -> None:
        super().__init__(ConvNormAct(inputs, hidden), nn.Dropout(0.1), nn.Conv2d(hidden, classes, 1))


def initialise(net: nn.Module) -> None:
    """Set every weight for training from scratch: Kaiming fan-out (He et al., ICCV 2015), per group.

    A convolution with a bias that ends a head starts near zero, so that the first loss is log(classes).
    """
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Conv2d):
            fan_out = module.out_channels * math.prod(module.kernel_size) / module.groups
            nn.init.normal_(module.weight, 0.0, math.sqrt(2.0 / fan_out) if module.bias is None else 0.01)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def divisible(channels: float, *, by: int = 8) -> int:
    """Return channels rounded to a multiple of `by`, at most 10 % below it (MobileNet's rounding rule)."""
    rounded = max(by, int(channels + by / 2) // by * by)
    return rounded + by if rounded < 0.9 * channels else rounded
