"""DDRNet-23-slim: Pan et al., "Deep Dual-Resolution Networks for Real-Time ... Road Scenes", T-ITS 2022, table 1."""

from __future__ import annotations

from torch import Tensor, nn

from edgeseg.models.architecture import Architecture
from edgeseg.models.blocks.layers import ConvNormAct, Resize, initialise
from edgeseg.models.blocks.pooling import DAPPM
from edgeseg.models.blocks.pyramid_pooling import resize_between
from edgeseg.models.blocks.residual import ResidualBottleneck, residual_stage

_WIDTH = 32
_POOLING_CHANNELS = 128
_HEAD_CHANNELS = 64


class SegmentationHead(nn.Sequential):
    """Batch norm, ReLU, 3x3 convolution and the classifier."""

    def __init__(self, inputs: int, hidden: int, classes: int) -> None:
        super().__init__(
            nn.BatchNorm2d(inputs),
            nn.ReLU(),
            ConvNormAct(inputs, hidden),
            nn.Dropout(0.1),
            nn.Conv2d(hidden, classes, 1),
        )


class SharedTrunk(nn.Module):
    """The stem and the first two stages of DDRNet and PIDNet; subclasses add the branches."""

    def __init__(self, *, width: int, inputs: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(ConvNormAct(inputs, width, stride=2), ConvNormAct(width, width, stride=2))
        self.layer1 = residual_stage(width, width, blocks=2)
        self.layer2 = residual_stage(width, 2 * width, blocks=2, stride=2)
        self.relu = nn.ReLU()

    def trunk(self, x: Tensor) -> Tensor:
        """Return the features at stride 8, (N, 2 * width, H/8, W/8), from x (N, inputs, H, W)."""
        features: Tensor = self.relu(self.layer2(self.relu(self.layer1(self.stem(x)))))
        return features


def branch_grids(size: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the (height, width) of the feature maps at strides 8 and 64 for images of `size`."""
    return (size[0] // 8, size[1] // 8), (-(-size[0] // 64), -(-size[1] // 64))


class DDRNetSlim(SharedTrunk):
    """Two residual branches, at stride 8 and down to stride 64, that exchange features twice; logits at stride 8."""

    def __init__(self, *, classes: int, size: tuple[int, int], aux: bool = False, inputs: int = 3) -> None:
        super().__init__(width=_WIDTH, inputs=inputs)
        high = 2 * _WIDTH
        grid8, grid64 = branch_grids(size)
        self.low3 = residual_stage(high, 4 * _WIDTH, blocks=2, stride=2)
        self.low4 = residual_stage(4 * _WIDTH, 8 * _WIDTH, blocks=2, stride=2)
        self.low5 = ResidualBottleneck(8 * _WIDTH, 8 * _WIDTH, stride=2)
        self.high3 = residual_stage(high, high, blocks=2)
        self.high4 = residual_stage(high, high, blocks=2)
        self.high5 = ResidualBottleneck(high, high)
        self.compress3 = nn.Sequential(ConvNormAct(4 * _WIDTH, high, kernel=1, activation=None), Resize(2, 2))
        self.compress4 = nn.Sequential(ConvNormAct(8 * _WIDTH, high, kernel=1, activation=None), Resize(4, 4))
        self.down3 = ConvNormAct(high, 4 * _WIDTH, stride=2, activation=None)
        self.down4 = nn.Sequential(
            ConvNormAct(high, 4 * _WIDTH, stride=2), ConvNormAct(4 * _WIDTH, 8 * _WIDTH, stride=2, activation=None)
        )
        self.pooling = DAPPM(16 * _WIDTH, _POOLING_CHANNELS, 4 * _WIDTH, grid=grid64)
        self.resize = resize_between(grid64, grid8)
        self.head = SegmentationHead(4 * _WIDTH, _HEAD_CHANNELS, classes)
        self.aux = nn.ModuleList([SegmentationHead(high, _HEAD_CHANNELS, classes)] if aux else [])
        initialise(self)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return logits (N, classes, H/8, W/8) from normalized images x (N, inputs, H, W).

        In training mode with the auxiliary head: (logits, aux at stride 8 after the first exchange).
        """
        relu = self.relu
        shared = self.trunk(x)
        low, high = self.low3(shared), self.high3(shared)
        low, high = low + self.down3(relu(high)), high + self.compress3(relu(low))
        exchanged = high
        low, high = self.low4(relu(low)), self.high4(relu(high))
        low, high = low + self.down4(relu(high)), high + self.compress4(relu(low))
        context = self.resize(self.pooling(self.low5(relu(low))))
        logits: Tensor = self.head(self.high5(relu(high)) + context)
        if self.training and len(self.aux):
            return logits, self.aux[0](exchanged)
        return logits


SLIM = Architecture(
    name="ddrnet_23_slim",
    build=DDRNetSlim,
    output_stride=8,
    size_multiple=32,
    paper="Pan et al.: Deep Dual-Resolution Networks for Real-Time Segmentation of Road Scenes, T-ITS 2022",
    description="two residual branches at strides 8 and 64 that exchange features; accurate for its speed in float",
)
