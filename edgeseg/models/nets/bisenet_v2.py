"""BiSeNetV2: Yu et al., "BiSeNet V2: Bilateral Network with Guided Aggregation", IJCV 2021, table 1."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgeseg.models.architecture import Architecture
from edgeseg.models.blocks.layers import ConvNormAct, Resize, initialise

# Table 1: (output channels, convolutions) of each stage; the first convolution of a stage has stride 2.
DETAIL_STAGES = ((64, 2), (64, 3), (128, 3))
# Table 1: (output channels, gather-and-expansion layers) of stages 3 to 5 of the semantic branch.
SEMANTIC_STAGES = ((32, 2), (64, 2), (128, 4))
_STEM_CHANNELS = 16
_EXPANSION = 6
CHANNELS = 128
# Section 5.2: the width of the segmentation head at inference and of the booster heads in training.
_HEAD_CHANNELS = 1024
_AUX_CHANNELS = 128


class Stem(nn.Module):
    """Stem block (figure 4a): a strided convolution, then a convolution branch beside a max pool, concatenated."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = ConvNormAct(inputs, outputs, stride=2)
        self.reduce = ConvNormAct(outputs, outputs // 2, kernel=1)
        self.stride = ConvNormAct(outputs // 2, outputs, stride=2)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.fuse = ConvNormAct(2 * outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, outputs, H/4, W/4) from x (N, inputs, H, W)."""
        x = self.conv(x)
        y: Tensor = self.fuse(torch.cat([self.stride(self.reduce(x)), self.pool(x)], dim=1))
        return y


class GatherExpansion(nn.Module):
    """Gather-and-expansion layer (figure 5): 3x3 convolution, depthwise expansion by 6, linear 1x1 projection.

    `activate` puts a ReLU in front of the projection.
    """

    def __init__(self, inputs: int, outputs: int, *, stride: int, activate: bool = False) -> None:
        super().__init__()
        hidden, last = inputs * _EXPANSION, nn.ReLU if activate else None
        self.gather = ConvNormAct(inputs, inputs)
        expand = [ConvNormAct(inputs, hidden, stride=stride, groups=inputs, activation=None if stride == 2 else last)]
        if stride == 2:
            expand.append(ConvNormAct(hidden, hidden, groups=hidden, activation=last))
        self.expand = nn.Sequential(*expand)
        self.project = ConvNormAct(hidden, outputs, kernel=1, activation=None)
        self.shortcut: nn.Module = nn.Identity()
        if stride == 2:
            self.shortcut = nn.Sequential(
                ConvNormAct(inputs, inputs, stride=2, groups=inputs, activation=None),
                ConvNormAct(inputs, outputs, kernel=1, activation=None),
            )
        self.activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, outputs, h / stride, w / stride) from x (N, inputs, h, w)."""
        y: Tensor = self.activation(self.project(self.expand(self.gather(x))) + self.shortcut(x))
        return y


class ContextEmbedding(nn.Module):
    """Context embedding block (figure 4b): the global mean, normalized and projected, added to every cell."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.norm = nn.BatchNorm2d(channels)
        self.project = ConvNormAct(channels, channels, kernel=1)
        self.fuse = ConvNormAct(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, C, h, w) from x (N, C, h, w)."""
        y: Tensor = self.fuse(x + self.project(self.norm(self.pool(x))))
        return y


class GuidedAggregation(nn.Module):
    """Bilateral guided aggregation (figure 6): each branch gates the other at the other's resolution.

    `activate` puts a ReLU at its end, `nearest` resizes without interpolation, and `bias` is that of the pointwise
    convolutions.
    """

    def __init__(self, channels: int, *, activate: bool = False, nearest: bool = False, bias: bool = False) -> None:
        super().__init__()
        self.detail_keep = _separable(channels, bias=bias)
        self.detail_down = nn.Sequential(
            ConvNormAct(channels, channels, stride=2, activation=None), nn.AvgPool2d(3, stride=2, padding=1)
        )
        self.semantic_keep = nn.Sequential(*_separable(channels, bias=bias), nn.Sigmoid())
        self.semantic_up = nn.Sequential(
            ConvNormAct(channels, channels, activation=None), Resize(4, 4, nearest=nearest), nn.Sigmoid()
        )
        self.resize = Resize(4, 4, nearest=nearest)
        self.fuse = ConvNormAct(channels, channels, activation=nn.ReLU if activate else None)

    def forward(self, detail: Tensor, semantic: Tensor) -> Tensor:
        """Return (N, C, H/8, W/8) from detail (N, C, H/8, W/8) and semantic (N, C, H/32, W/32)."""
        fine = self.detail_keep(detail) * self.semantic_up(semantic)
        coarse = self.detail_down(detail) * self.semantic_keep(semantic)
        y: Tensor = self.fuse(fine + self.resize(coarse))
        return y


class BiSeNetV2(nn.Module):
    """A wide, shallow detail branch and a narrow, deep semantic one; logits at stride 8.

    The other options are departures from the paper that public weights were trained with: a ReLU behind every expansion
    and behind the aggregation, resizes in it without interpolation, and biases of its pointwise convolutions.
    """

    def __init__(
        self,
        *,
        classes: int,
        size: tuple[int, int],
        aux: bool = False,
        inputs: int = 3,
        activate_expansion: bool = False,
        activate_aggregation: bool = False,
        nearest: bool = False,
        pointwise_bias: bool = False,
    ) -> None:
        super().__init__()
        self.detail = _detail_branch(inputs)
        self.stem = Stem(inputs, _STEM_CHANNELS)
        self.semantic = nn.ModuleList(_semantic_stages(activate=activate_expansion))
        self.context = ContextEmbedding(CHANNELS)
        self.aggregate = GuidedAggregation(
            CHANNELS, activate=activate_aggregation, nearest=nearest, bias=pointwise_bias
        )
        self.head = _head(CHANNELS, _HEAD_CHANNELS, classes)
        # The booster heads of figure 3: after the stem, stages 3 and 4, and the last gather-and-expansion layer.
        widths = (_STEM_CHANNELS, *(channels for channels, _ in SEMANTIC_STAGES))
        self.aux = nn.ModuleList(_head(width, _AUX_CHANNELS, classes) for width in widths if aux)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return logits (N, classes, H/8, W/8) from normalized images x (N, inputs, H, W).

        In training mode with auxiliary heads: (logits, aux at strides 4, 8, 16 and 32).
        """
        features = [self.stem(x)]
        for stage in self.semantic:
            features.append(stage(features[-1]))
        logits: Tensor = self.head(self.aggregate(self.detail(x), self.context(features[-1])))
        if self.training and len(self.aux):
            return logits, *(head(feature) for head, feature in zip(self.aux, features, strict=True))
        return logits


def _detail_branch(inputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for outputs, count in DETAIL_STAGES:
        for index in range(count):
            layers.append(ConvNormAct(inputs, outputs, stride=2 if index == 0 else 1))
            inputs = outputs
    return nn.Sequential(*layers)


def _semantic_stages(*, activate: bool) -> list[nn.Sequential]:
    stages, inputs = [], _STEM_CHANNELS
    for outputs, count in SEMANTIC_STAGES:
        widths = (inputs, *[outputs] * (count - 1))
        stages.append(
            nn.Sequential(
                *(
                    GatherExpansion(width, outputs, stride=2 if at == 0 else 1, activate=activate)
                    for at, width in enumerate(widths)
                )
            )
        )
        inputs = outputs
    return stages


def _separable(channels: int, *, bias: bool) -> nn.Sequential:
    return nn.Sequential(
        ConvNormAct(channels, channels, groups=channels, activation=None), nn.Conv2d(channels, channels, 1, bias=bias)
    )


def _head(inputs: int, hidden: int, classes: int) -> nn.Sequential:
    return nn.Sequential(ConvNormAct(inputs, hidden), nn.Dropout(0.1), nn.Conv2d(hidden, classes, 1))


ARCHITECTURE = Architecture(
    name="bisenet_v2",
    build=BiSeNetV2,
    output_stride=8,
    size_multiple=32,
    paper="Yu et al.: BiSeNet V2: Bilateral Network with Guided Aggregation, IJCV 2021",
    description="a wide detail branch and a deep semantic one that gate each other; plain ReLU, int8 throughout",
    input_channels=(1, 3),
)
