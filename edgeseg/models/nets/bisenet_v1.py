"""BiSeNet on ResNet-18: Yu et al., "BiSeNet: Bilateral Segmentation Network", ECCV 2018, figure 2."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from edgeseg.core.suggestions import unknown
from edgeseg.models.architecture import Architecture
from edgeseg.models.blocks.layers import AuxHead, ConvNormAct, Resize, initialise
from edgeseg.models.encoders.resnet import ResNet

if TYPE_CHECKING:
    from collections.abc import Sequence

CONTEXT_CHANNELS = 128
SPATIAL_CHANNELS = 64
_FUSED_CHANNELS = 256
_HEAD_CHANNELS = 256


class AttentionRefinement(nn.Module):
    """Attention refinement module (figure 2b): a 3x3 convolution whose channels its own global mean gates."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = ConvNormAct(inputs, outputs)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.attention = ConvNormAct(outputs, outputs, kernel=1, activation=nn.Sigmoid)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, outputs, h, w) from x (N, inputs, h, w)."""
        x = self.conv(x)
        y: Tensor = x * self.attention(self.pool(x))
        return y


# Gates of the feature fusion: the paper's two convolutions without batch norm, or one with it.
GATES = ("bottleneck", "norm", "norm_relu")


class FeatureFusion(nn.Module):
    """Feature fusion module (figure 2c): both paths concatenated, projected, and gated with a residual.

    `gate` is one of GATES: "bottleneck", the paper's two convolutions with a ReLU between them; "norm", one convolution
    with batch norm; "norm_relu", that and a ReLU.
    """

    def __init__(self, inputs: int, outputs: int, *, gate: str = GATES[0]) -> None:
        super().__init__()
        if gate not in GATES:
            raise unknown("gate", gate, GATES)
        self.project = ConvNormAct(inputs, outputs, kernel=1)
        convolutions: list[nn.Module] = [
            nn.Conv2d(outputs, outputs // 4, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(outputs // 4, outputs, 1, bias=False),
        ]
        if gate != GATES[0]:
            convolutions = [ConvNormAct(outputs, outputs, kernel=1, activation=nn.ReLU if gate == GATES[2] else None)]
        self.attention = nn.Sequential(nn.AdaptiveAvgPool2d(1), *convolutions, nn.Sigmoid())

    def forward(self, spatial: Tensor, context: Tensor) -> Tensor:
        """Return (N, outputs, h, w) from the two paths, (N, ·, h, w) each."""
        x = self.project(torch.cat([spatial, context], dim=1))
        y: Tensor = x + x * self.attention(x)
        return y


class ContextLayers(nn.Module):
    """An encoder, its last two stages refined, the global mean on top, brought to stride 8 (figure 2a)."""

    def __init__(self, encoder: nn.Module, *, channels: Sequence[int], nearest: bool = False) -> None:
        super().__init__()
        self.encoder = encoder
        *_, middle, high = channels
        self.refine16 = AttentionRefinement(middle, CONTEXT_CHANNELS)
        self.refine32 = AttentionRefinement(high, CONTEXT_CHANNELS)
        self.mean = nn.Sequential(nn.AdaptiveAvgPool2d(1), ConvNormAct(high, CONTEXT_CHANNELS, kernel=1))
        self.up32, self.up16 = (
            nn.Sequential(Resize(2, 2, nearest=nearest), ConvNormAct(CONTEXT_CHANNELS, CONTEXT_CHANNELS))
            for _ in range(2)
        )

    def refine(self, middle: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Return context at strides 8 and 16, (N, 128, ·, ·), from the encoder's features at strides 16 and 32."""
        at16 = self.up32(self.refine32(high) + self.mean(high))
        return self.up16(self.refine16(middle) + at16), at16


class ContextPath(ContextLayers):
    """The context path of BiSeNet, on ResNet-18."""

    def __init__(self, *, inputs: int, nearest: bool = False) -> None:
        encoder = ResNet(18, inputs=inputs)
        super().__init__(encoder, channels=encoder.channels, nearest=nearest)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return context at strides 8 and 16, (N, 128, ·, ·), from x (N, inputs, H, W)."""
        *_, middle, high = self.encoder(x)
        return self.refine(middle, high)


class BiSeNetV1(nn.Module):
    """A shallow spatial path beside ResNet-18's context path; logits at stride 8.

    The other options are those of public weights: resizes of the context path without interpolation, and another gate
    in the feature fusion.
    """

    def __init__(
        self,
        *,
        classes: int,
        size: tuple[int, int],
        aux: bool = False,
        inputs: int = 3,
        nearest: bool = False,
        gate: str = GATES[0],
    ) -> None:
        super().__init__()
        self.spatial = nn.Sequential(
            ConvNormAct(inputs, SPATIAL_CHANNELS, kernel=7, stride=2),
            ConvNormAct(SPATIAL_CHANNELS, SPATIAL_CHANNELS, stride=2),
            ConvNormAct(SPATIAL_CHANNELS, SPATIAL_CHANNELS, stride=2),
            ConvNormAct(SPATIAL_CHANNELS, CONTEXT_CHANNELS, kernel=1),
        )
        self.context = ContextPath(inputs=inputs, nearest=nearest)
        self.fusion = FeatureFusion(2 * CONTEXT_CHANNELS, _FUSED_CHANNELS, gate=gate)
        self.head = nn.Sequential(
            ConvNormAct(_FUSED_CHANNELS, _HEAD_CHANNELS), nn.Dropout(0.1), nn.Conv2d(_HEAD_CHANNELS, classes, 1)
        )
        # Section 3.3: two auxiliary losses on the context path.
        self.aux = nn.ModuleList(AuxHead(CONTEXT_CHANNELS, classes, hidden=64) for _ in range(2 if aux else 0))
        initialise(self)

    @property
    def encoder(self) -> nn.Module:
        """The part that public ImageNet weights belong to."""
        return self.context.encoder

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return logits (N, classes, H/8, W/8) from normalized images x (N, inputs, H, W).

        In training mode with auxiliary heads: (logits, aux at strides 8 and 16).
        """
        at8, at16 = self.context(x)
        logits: Tensor = self.head(self.fusion(self.spatial(x), at8))
        if self.training and len(self.aux):
            return logits, self.aux[0](at8), self.aux[1](at16)
        return logits


ARCHITECTURE = Architecture(
    name="bisenet_v1_resnet18",
    build=BiSeNetV1,
    output_stride=8,
    size_multiple=32,
    paper="Yu et al.: BiSeNet: Bilateral Segmentation Network for Real-time Semantic Segmentation, ECCV 2018",
    description="ResNet-18 with a spatial path beside it; public ImageNet weights fit its encoder",
    input_channels=(1, 3),
)
