"""ResNet encoders: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, table 1."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from edgeseg.models.blocks.layers import BATCH_NORM_MOMENTUM

if TYPE_CHECKING:
    from collections.abc import Sequence

# Table 1: blocks of conv2_x to conv5_x, and whether they are bottlenecks.
DEPTHS = {18: ((2, 2, 2, 2), False), 34: ((3, 4, 6, 3), False), 50: ((3, 4, 6, 3), True)}
_WIDTHS = (64, 128, 256, 512)
BOTTLENECK_EXPANSION = 4


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a residual (figure 5, left), with torchvision's key names."""

    expansion = 1

    def __init__(self, inputs: int, width: int, *, stride: int, dilations: tuple[int, int] = (1, 1)) -> None:
        super().__init__()
        self.conv1 = _conv3x3(inputs, width, stride=stride, dilation=dilations[0])
        self.bn1 = _norm(width)
        self.conv2 = _conv3x3(width, width, dilation=dilations[1])
        self.bn2 = _norm(width)
        self.relu = nn.ReLU()
        self.downsample = _shortcut(inputs, width, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, width, h / stride, w / stride) from x (N, inputs, h, w)."""
        y = self.relu(self.bn1(self.conv1(x)))
        result: Tensor = self.relu(self.bn2(self.conv2(y)) + self.downsample(x))
        return result


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a residual (figure 5, right); the 3x3 one strides, as in torchvision."""

    expansion = BOTTLENECK_EXPANSION

    def __init__(self, inputs: int, width: int, *, stride: int, dilations: tuple[int, int] = (1, 1)) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = _norm(width)
        self.conv2 = _conv3x3(width, width, stride=stride, dilation=dilations[0])
        self.bn2 = _norm(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = _norm(outputs)
        self.relu = nn.ReLU()
        self.downsample = _shortcut(inputs, outputs, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, 4 * width, h / stride, w / stride) from x (N, inputs, h, w)."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        result: Tensor = self.relu(self.bn3(self.conv3(y)) + self.downsample(x))
        return result


class ResNet(nn.Module):
    """ResNet-18, -34 or -50 without its classifier.

    `output_stride` 8 or 16 dilates the last stages instead of striding (Chen et al., DeepLab, TPAMI 2018). Keys are
    torchvision's, so public weights load.
    """

    def __init__(self, depth: int, *, inputs: int = 3, output_stride: int = 32) -> None:
        super().__init__()
        counts, bottleneck = DEPTHS[depth]
        block = Bottleneck if bottleneck else BasicBlock
        self.conv1 = nn.Conv2d(inputs, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = _norm(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        channels, stride, dilation = 64, 4, 1
        stages = []
        for index, (width, count) in enumerate(zip(_WIDTHS, counts, strict=True)):
            step, first_dilation = (1 if index == 0 else 2), dilation
            if stride * step > output_stride:
                dilation, step = dilation * step, 1
            stride *= step
            stages.append(
                _stage(block, channels, width, count=count, stride=step, dilations=(first_dilation, dilation))
            )
            channels = width * block.expansion
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.channels: Sequence[int] = tuple(width * block.expansion for width in _WIDTHS)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the features of the four stages, at strides 4, 8, 16 and 32 at most, of x (N, inputs, H, W)."""
        first = self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(x)))))
        second = self.layer2(first)
        third = self.layer3(second)
        return first, second, third, self.layer4(third)


def _stage(
    block: type[BasicBlock] | type[Bottleneck],
    inputs: int,
    width: int,
    *,
    count: int,
    stride: int,
    dilations: tuple[int, int],
) -> nn.Sequential:
    # A stage without its stride reads its input undilated in the first convolution and dilates after it, so that
    # each weight meets the neighbours it was trained on.
    others = (dilations[1], dilations[1])
    blocks: list[nn.Module] = [block(inputs, width, stride=stride, dilations=dilations)]
    blocks += [block(width * block.expansion, width, stride=1, dilations=others) for _ in range(count - 1)]
    return nn.Sequential(*blocks)


def _conv3x3(inputs: int, outputs: int, *, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=dilation, dilation=dilation, bias=False)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, momentum=BATCH_NORM_MOMENTUM)


def _shortcut(inputs: int, outputs: int, *, stride: int) -> nn.Module:
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), _norm(outputs))
