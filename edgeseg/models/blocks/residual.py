"""Residual blocks of the dual-resolution nets; the caller applies the last activation."""

from __future__ import annotations

from torch import Tensor, nn

from edgeseg.models.blocks.layers import ConvNormAct


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a residual; `activate` applies the last ReLU."""

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1, activate: bool = True) -> None:
        super().__init__()
        self.conv1 = ConvNormAct(inputs, outputs, stride=stride)
        self.conv2 = ConvNormAct(outputs, outputs, activation=None)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = ConvNormAct(inputs, outputs, kernel=1, stride=stride, activation=None)
        self.activation: nn.Module = nn.ReLU() if activate else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, outputs, h / stride, w / stride) from x (N, inputs, h, w)."""
        y: Tensor = self.activation(self.conv2(self.conv1(x)) + self.shortcut(x))
        return y


class ResidualBottleneck(nn.Module):
    """1x1, 3x3 and a widening 1x1 convolution (by 2) and a residual, without a last activation."""

    def __init__(self, inputs: int, width: int, *, stride: int = 1, activate: bool = False) -> None:
        super().__init__()
        outputs = 2 * width
        self.conv1 = ConvNormAct(inputs, width, kernel=1)
        self.conv2 = ConvNormAct(width, width, stride=stride)
        self.conv3 = ConvNormAct(width, outputs, kernel=1, activation=None)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = ConvNormAct(inputs, outputs, kernel=1, stride=stride, activation=None)
        self.activation: nn.Module = nn.ReLU() if activate else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, 2 * width, h / stride, w / stride) from x (N, inputs, h, w)."""
        y: Tensor = self.activation(self.conv3(self.conv2(self.conv1(x))) + self.shortcut(x))
        return y


def residual_stage(inputs: int, outputs: int, *, blocks: int, stride: int = 1) -> nn.Sequential:
    """Return `blocks` residual blocks; the caller applies the last activation."""
    widths = (inputs, *[outputs] * (blocks - 1))
    return nn.Sequential(
        *(
            ResidualBlock(width, outputs, stride=stride if index == 0 else 1, activate=index < blocks - 1)
            for index, width in enumerate(widths)
        )
    )
