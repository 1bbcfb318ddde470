"""STDC-Seg: Fan et al., "Rethinking BiSeNet For Real-time Semantic Segmentation", CVPR 2021, figure 4."""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from edgeseg.models.architecture import Architecture
from edgeseg.models.blocks.layers import AuxHead, ConvNormAct, Resize, initialise
from edgeseg.models.encoders.stdc import STDC
from edgeseg.models.nets.bisenet_v1 import AttentionRefinement, FeatureFusion

_CONTEXT_CHANNELS = 128
_FUSED_CHANNELS = 256
_AUX_CHANNELS = 64


class STDCSeg(nn.Module):
    """BiSeNet's context path on STDC, its third stage in place of the spatial path; logits at stride 8."""

    def __init__(
        self, variant: int, *, classes: int, size: tuple[int, int], aux: bool = False, inputs: int = 3
    ) -> None:
        super().__init__()
        self.encoder = STDC(variant, inputs=inputs)
        _, low, middle, high = self.encoder.channels
        self.refine16 = AttentionRefinement(middle, _CONTEXT_CHANNELS)
        self.refine32 = AttentionRefinement(high, _CONTEXT_CHANNELS)
        self.mean = nn.Sequential(nn.AdaptiveAvgPool2d(1), ConvNormAct(high, _CONTEXT_CHANNELS, kernel=1))
        self.up32 = nn.Sequential(Resize(2, 2), ConvNormAct(_CONTEXT_CHANNELS, _CONTEXT_CHANNELS))
        self.up16 = nn.Sequential(Resize(2, 2), ConvNormAct(_CONTEXT_CHANNELS, _CONTEXT_CHANNELS))
        self.fusion = FeatureFusion(low + _CONTEXT_CHANNELS, _FUSED_CHANNELS)
        self.head = nn.Sequential(
            ConvNormAct(_FUSED_CHANNELS, _FUSED_CHANNELS), nn.Dropout(0.1), nn.Conv2d(_FUSED_CHANNELS, classes, 1)
        )
        widths = ((_CONTEXT_CHANNELS, classes), (_CONTEXT_CHANNELS, classes), (low, 1)) if aux else ()
        self.aux = nn.ModuleList(AuxHead(width, outputs, hidden=_AUX_CHANNELS) for width, outputs in widths)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return logits (N, classes, H/8, W/8) from normalized images x (N, inputs, H, W).

        In training mode with auxiliary heads: (logits, aux at strides 8 and 16, boundary logits (N, 1, H/8, W/8) of
        the third stage, the paper's detail guidance).
        """
        _, low, middle, high = self.encoder(x)
        at16 = self.up32(self.refine32(high) + self.mean(high))
        at8 = self.up16(self.refine16(middle) + at16)
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
