"""STDC-Seg: Fan et al., "Rethinking BiSeNet For Real-time Semantic Segmentation", CVPR 2021, figure 4."""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from edgeseg.models.architecture import Architecture
from edgeseg.models.blocks.layers import AuxHead, ConvNormAct, initialise
from edgeseg.models.encoders.stdc import STDC
from edgeseg.models.nets.bisenet_v1 import CONTEXT_CHANNELS, ContextLayers, FeatureFusion

_FUSED_CHANNELS = 256
_AUX_CHANNELS = 64


class STDCSeg(ContextLayers):
    """BiSeNet's context path on STDC, its third stage in place of the spatial path; logits at stride 8.

    `nearest` resizes the context without interpolation, as public weights were trained.
    """

    def __init__(
        self,
        variant: int,
        *,
        classes: int,
        size: tuple[int, int],
        aux: bool = False,
        inputs: int = 3,
        nearest: bool = False,
    ) -> None:
        encoder = STDC(variant, inputs=inputs)
        super().__init__(encoder, channels=encoder.channels, nearest=nearest)
        low = encoder.channels[1]
        self.fusion = FeatureFusion(low + CONTEXT_CHANNELS, _FUSED_CHANNELS)
        self.head = nn.Sequential(
            ConvNormAct(_FUSED_CHANNELS, _FUSED_CHANNELS), nn.Dropout(0.1), nn.Conv2d(_FUSED_CHANNELS, classes, 1)
        )
        widths = ((CONTEXT_CHANNELS, classes), (CONTEXT_CHANNELS, classes), (low, 1)) if aux else ()
        self.aux = nn.ModuleList(AuxHead(width, outputs, hidden=_AUX_CHANNELS) for width, outputs in widths)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return logits (N, classes, H/8, W/8) from normalized images x (N, inputs, H, W).

        In training mode with auxiliary heads: (logits, aux at strides 8 and 16, boundary logits (N, 1, H/8, W/8) of
        the third stage, the paper's detail guidance).
        """
        _, low, middle, high = self.encoder(x)
        at8, at16 = self.refine(middle, high)
        logits: Tensor = self.head(self.fusion(low, at8))
        if self.training and len(self.aux):
            return logits, self.aux[0](at8), self.aux[1](at16), self.aux[2](low)
        return logits


def _architecture(variant: int, *, description: str) -> Architecture:
    return Architecture(
        name=f"stdc{variant}_seg",
        build=partial(STDCSeg, variant),
        output_stride=8,
        size_multiple=32,
        paper="Fan et al.: Rethinking BiSeNet For Real-time Semantic Segmentation, CVPR 2021",
        description=description,
    )


STDC1 = _architecture(1, description="dense concatenation in place of a spatial path; plain 3x3 convolutions and ReLU")
STDC2 = _architecture(2, description="the deeper of the two STDC nets")
