"""PP-LiteSeg: Peng et al., "PP-LiteSeg: A Superior Real-Time Semantic Segmentation Model", 2022, figures 2 to 4."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgeseg.models.architecture import Architecture
from edgeseg.models.blocks.layers import AuxHead, ConvNormAct, Resize, initialise
from edgeseg.models.blocks.pooling import SPPM
from edgeseg.models.encoders.stdc import STDC

# Section 4.1, variant T: channels of the flexible and lightweight decoder at strides 8, 16 and 32.
_DECODER_CHANNELS = (32, 64, 128)
_CONTEXT_CHANNELS = 128
_HEAD_CHANNELS = 32


class UnifiedAttentionFusion(nn.Module):
    """Unified attention fusion with the spatial attention of figure 4: means and maxima over channels gate two maps."""

    def __init__(self, low: int, high: int, outputs: int, *, scale: int) -> None:
        super().__init__()
        self.low = ConvNormAct(low, high)
        self.resize: nn.Module = Resize(scale, scale) if scale > 1 else nn.Identity()
        self.attention = nn.Sequential(ConvNormAct(4, 2), ConvNormAct(2, 1, activation=nn.Sigmoid))
        self.fuse = ConvNormAct(high, outputs)

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        """Return (N, outputs, h, w) from low (N, low, h, w) and high (N, high, h / scale, w / scale)."""
        low, high = self.low(low), self.resize(high)
        seen = [statistic for x in (low, high) for statistic in (x.mean(1, keepdim=True), x.amax(1, keepdim=True))]
        gate = self.attention(torch.cat(seen, dim=1))
        y: Tensor = self.fuse(low * gate + high * (1.0 - gate))
        return y


class PPLiteSeg(nn.Module):
    """STDC1, simple pyramid pooling, and a decoder with fewer channels at finer strides; logits at stride 8."""

    def __init__(self, *, classes: int, size: tuple[int, int], aux: bool = False, inputs: int = 3) -> None:
        super().__init__()
        self.encoder = STDC(1, inputs=inputs)
        _, low, middle, high = self.encoder.channels
        at8, at16, at32 = _DECODER_CHANNELS
        self.context = SPPM(high, _CONTEXT_CHANNELS, grid=(size[0] // 32, size[1] // 32))
        self.fuse32 = UnifiedAttentionFusion(high, _CONTEXT_CHANNELS, at32, scale=1)
        self.fuse16 = UnifiedAttentionFusion(middle, at32, at16, scale=2)
        self.fuse8 = UnifiedAttentionFusion(low, at16, at8, scale=2)
        self.head = nn.Sequential(
            ConvNormAct(at8, _HEAD_CHANNELS), nn.Dropout(0.1), nn.Conv2d(_HEAD_CHANNELS, classes, 1)
        )
        self.aux = nn.ModuleList([AuxHead(at16, classes), AuxHead(at32, classes)] if aux else [])
        initialise(self)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return logits (N, classes, H/8, W/8) from normalized images x (N, inputs, H, W).

        In training mode with auxiliary heads: (logits, aux at strides 16 and 32).
        """
        _, low, middle, high = self.encoder(x)
        at32 = self.fuse32(high, self.context(high))
        at16 = self.fuse16(middle, at32)
        logits: Tensor = self.head(self.fuse8(low, at16))
        if self.training and len(self.aux):
            return logits, self.aux[0](at16), self.aux[1](at32)
        return logits


PP_LITESEG_T = Architecture(
    name="pp_liteseg_t",
    build=PPLiteSeg,
    output_stride=8,
    size_multiple=32,
    paper="Peng et al.: PP-LiteSeg: A Superior Real-Time Semantic Segmentation Model, 2022",
    description="STDC1 with a light decoder that gates two scales by their spatial attention",
)
