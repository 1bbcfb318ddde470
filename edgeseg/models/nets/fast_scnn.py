"""Fast-SCNN: Poudel, Liwicki, Cipolla, "Fast-SCNN: Fast Semantic Segmentation Network", BMVC 2019, table 1."""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from edgeseg.models.architecture import Architecture
from edgeseg.models.blocks.layers import AuxHead, ConvNormAct, DepthwiseSeparable, Resize, initialise
from edgeseg.models.blocks.pyramid_pooling import PyramidPooling

_EXPANSION = 6
# Table 1, the global feature extractor: output channels, repeats, stride of the first repeat.
_BOTTLENECKS = ((64, 3, 2), (96, 3, 2), (128, 3, 1))


class LinearBottleneck(nn.Module):
    """Inverted residual (table 2): expand by t, 3x3 depthwise, linear projection; a residual where shapes agree."""

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        hidden = inputs * _EXPANSION
        self.residual = stride == 1 and inputs == outputs
        self.block = nn.Sequential(
            ConvNormAct(inputs, hidden, kernel=1),
            ConvNormAct(hidden, hidden, stride=stride, groups=hidden),
            ConvNormAct(hidden, outputs, kernel=1, activation=None),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, outputs, h / stride, w / stride) from x (N, inputs, h, w)."""
        y: Tensor = x + self.block(x) if self.residual else self.block(x)
        return y


class _FeatureFusion(nn.Module):
    """Adds the stride-32 features, resized by 4, to the stride-8 ones (table 3)."""

    def __init__(self, high: int, low: int, outputs: int, *, dilation: int, align_corners: bool) -> None:
        super().__init__()
        self.resize = Resize(4, 4, align_corners=align_corners)
        self.low = nn.Sequential(
            ConvNormAct(low, low, dilation=dilation, groups=low),
            ConvNormAct(low, outputs, kernel=1, activation=None),
        )
        self.high = ConvNormAct(high, outputs, kernel=1, activation=None)
        self.activation = nn.ReLU()

    def forward(self, high: Tensor, low: Tensor) -> Tensor:
        """Return (N, outputs, H/8, W/8) from high (N, high, H/8, W/8) and low (N, low, H/32, W/32)."""
        y: Tensor = self.activation(self.high(high) + self.low(self.resize(low)))
        return y


class FastSCNN(nn.Module):
    """Two branches that share a stem; logits at stride 8 for an image of the size it was built for.

    The other options are departures from the paper that public weights were trained with: a ReLU between depthwise and
    pointwise convolutions, a first convolution without padding, corner-aligned resizes, another dilation in the fusion
    (4, the paper's, is that of table 3) and another kernel in the pyramid's last convolution.
    """

    def __init__(
        self,
        *,
        classes: int,
        size: tuple[int, int],
        aux: bool = False,
        activate_depthwise: bool = False,
        padded_stem: bool = True,
        align_corners: bool = False,
        fusion_dilation: int = 4,
        pyramid_kernel: int = 1,
    ) -> None:
        super().__init__()
        separable = partial(DepthwiseSeparable, activate_depthwise=activate_depthwise)
        self.downsample = nn.Sequential(
            ConvNormAct(3, 32, stride=2, padded=padded_stem), separable(32, 48, stride=2), separable(48, 64, stride=2)
        )
        self.features = _bottlenecks(64)
        self.pyramid = PyramidPooling(
            128, 128, grid=(size[0] // 32, size[1] // 32), kernel=pyramid_kernel, align_corners=align_corners
        )
        self.fusion = _FeatureFusion(64, 128, 128, dilation=fusion_dilation, align_corners=align_corners)
        self.classifier = nn.Sequential(
            separable(128, 128),
            separable(128, 128),
            nn.Dropout(0.1),
            nn.Conv2d(128, classes, 1),
        )
        # Section 3.3: auxiliary losses after learning to downsample and after the global features.
        self.aux = nn.ModuleList([AuxHead(64, classes), AuxHead(128, classes)] if aux else [])
        initialise(self)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return logits (N, classes, H/8, W/8) from normalized images x (N, 3, H, W).

        In training mode with auxiliary heads: (logits, aux at stride 8, aux at stride 32).
        """
        high = self.downsample(x)
        low = self.pyramid(self.features(high))
        logits: Tensor = self.classifier(self.fusion(high, low))
        if self.training and len(self.aux):
            return logits, self.aux[0](high), self.aux[1](low)
        return logits


def _bottlenecks(inputs: int) -> nn.Sequential:
    blocks: list[nn.Module] = []
    for outputs, repeats, first_stride in _BOTTLENECKS:
        for repeat in range(repeats):
            blocks.append(LinearBottleneck(inputs, outputs, stride=first_stride if repeat == 0 else 1))
            inputs = outputs
    return nn.Sequential(*blocks)


ARCHITECTURE = Architecture(
    name="fast_scnn",
    build=FastSCNN,
    output_stride=8,
    size_multiple=32,
    paper="Poudel, Liwicki, Cipolla: Fast-SCNN: Fast Semantic Segmentation Network, BMVC 2019",
    description="two branches that share a stem; the smallest and fastest here",
)
