"""SegFormer: Xie et al., "SegFormer: Simple and Efficient Design with Transformers", NeurIPS 2021, section 3.2."""

from __future__ import annotations

from torch import Tensor, nn

from edgeseg.models.architecture import Architecture
from edgeseg.models.blocks.layers import BATCH_NORM_MOMENTUM, AuxHead, ConvNormAct, Resize, initialise
from edgeseg.models.encoders.mit import MixTransformer

_DECODER_CHANNELS = 256


class AllMlpDecoder(nn.Module):
    """The all-MLP decoder, with its fusing layer before the resizes.

    The paper projects each stage to 256 channels, resizes all to stride 4, concatenates and fuses by a linear layer.
    That layer is the sum of one linear map per stage, and a linear map over channels commutes with a bilinear resize:
    here each stage is fused at its own resolution and only the sums are at stride 4. The result is the same.
    `activate_projection` gives each projection a batch norm and a ReLU in place of its bias.
    """

    def __init__(
        self,
        inputs: tuple[int, ...],
        classes: int,
        *,
        hidden: int = _DECODER_CHANNELS,
        activate_projection: bool = False,
    ) -> None:
        super().__init__()
        self.project = nn.ModuleList(
            ConvNormAct(channels, hidden, kernel=1) if activate_projection else nn.Conv2d(channels, hidden, 1)
            for channels in inputs
        )
        self.fuse = nn.ModuleList(nn.Conv2d(hidden, hidden, 1, bias=False) for _ in inputs)
        self.resize = nn.ModuleList(
            Resize(2**index, 2**index) if index else nn.Identity() for index in range(len(inputs))
        )
        self.norm = nn.BatchNorm2d(hidden, momentum=BATCH_NORM_MOMENTUM)
        self.activation = nn.ReLU()
        self.dropout = nn.Dropout(0.1)
        self.classifier = nn.Conv2d(hidden, classes, 1)

    def forward(self, features: list[Tensor]) -> Tensor:
        """Return logits (N, classes, H/4, W/4) from features at strides 4, 8, 16 and 32."""
        parts = zip(features, self.project, self.fuse, self.resize, strict=True)
        first, *others = (resize(fuse(project(feature))) for feature, project, fuse, resize in parts)
        total = first
        for part in others:
            total = total + part
        y: Tensor = self.classifier(self.dropout(self.activation(self.norm(total))))
        return y


class SegFormer(nn.Module):
    """A Mix Transformer and the all-MLP decoder; logits at stride 4.

    `activate_projection` is the decoder of public weights that have a batch norm and a ReLU behind each projection.
    """

    def __init__(
        self,
        *,
        classes: int,
        size: tuple[int, int],
        aux: bool = False,
        inputs: int = 3,
        activate_projection: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = MixTransformer(size=size, inputs=inputs)
        self.decoder = AllMlpDecoder(self.encoder.channels, classes, activate_projection=activate_projection)
        self.aux = nn.ModuleList([AuxHead(self.encoder.channels[2], classes)] if aux else [])
        initialise(self)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return logits (N, classes, H/4, W/4) from normalized images x (N, inputs, H, W).

        In training mode with the auxiliary head: (logits, aux at stride 16).
        """
        features = self.encoder(x)
        logits: Tensor = self.decoder(features)
        if self.training and len(self.aux):
            return logits, self.aux[0](features[2])
        return logits


SEGFORMER_B0 = Architecture(
    name="segformer_b0",
    build=SegFormer,
    output_stride=4,
    size_multiple=32,
    paper="Xie et al.: SegFormer: Simple and Efficient Design for Semantic Segmentation, NeurIPS 2021",
    description="a small hierarchical transformer with an all-MLP decoder; accurate, heavier in int8 than the CNNs",
    input_channels=(1, 3),
)
