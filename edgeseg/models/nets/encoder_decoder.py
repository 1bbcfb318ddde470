"""Heads for any encoder: DeepLabv3+, PSPNet, FCN-8s, and the concatenating head of HRNet.

An encoder returns features at strides 4, 8, 16 and 32 (fewer distinct ones if it dilates) and has their widths in
`channels`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

from edgeseg.models.architecture import Architecture
from edgeseg.models.blocks.layers import AuxHead, ConvNormAct, DepthwiseSeparable, Resize, initialise
from edgeseg.models.blocks.pooling import ASPP
from edgeseg.models.blocks.pyramid_pooling import PyramidPooling
from edgeseg.models.encoders.efficientnet_lite import EfficientNetLite0
from edgeseg.models.encoders.hrnet import HRNetSmall
from edgeseg.models.encoders.mobilenet_v2 import MobileNetV2
from edgeseg.models.encoders.resnet import ResNet
from edgeseg.models.nets.lraspp import LRASPPHead

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ASPP_CHANNELS = 256
LOW_CHANNELS = 48
PYRAMID_CHANNELS = 128


class Head(Protocol):
    """Builds a module from an encoder's features to logits."""

    def __call__(self, channels: Sequence[int], classes: int, *, size: tuple[int, int]) -> nn.Module:
        """Return the head for features of these widths and images of `size` (height, width)."""


class EncoderDecoder(nn.Module):
    """An encoder, a head, and in training an auxiliary head on the third feature map."""

    def __init__(
        self,
        encoder: Callable[..., nn.Module],
        head: Head,
        *,
        classes: int,
        size: tuple[int, int],
        aux: bool = False,
        inputs: int = 3,
    ) -> None:
        super().__init__()
        self.encoder = encoder(inputs=inputs)
        channels: Sequence[int] = self.encoder.channels  # type: ignore[assignment]
        self.head = head(channels, classes, size=size)
        self.aux = nn.ModuleList([AuxHead(channels[2], classes)] if aux else [])
        initialise(self)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return logits (N, classes, H / stride, W / stride) from normalized images x (N, inputs, H, W).

        In training mode with the auxiliary head: (logits, aux at the third feature map's stride).
        """
        features = self.encoder(x)
        logits: Tensor = self.head(features)
        if self.training and len(self.aux):
            return logits, self.aux[0](features[2])
        return logits


class DeepLabV3PlusHead(nn.Module):
    """Chen et al., ECCV 2018, figure 2: ASPP at stride 16, resized and refined with the features of stride 4."""

    def __init__(self, channels: Sequence[int], classes: int, *, size: tuple[int, int]) -> None:
        super().__init__()
        self.aspp = ASPP(channels[3], ASPP_CHANNELS, grid=(size[0] // 16, size[1] // 16))
        self.resize = Resize(4, 4)
        self.low = ConvNormAct(channels[0], LOW_CHANNELS, kernel=1)
        self.refine = nn.Sequential(
            DepthwiseSeparable(ASPP_CHANNELS + LOW_CHANNELS, ASPP_CHANNELS),
            DepthwiseSeparable(ASPP_CHANNELS, ASPP_CHANNELS),
        )
        self.classifier = nn.Conv2d(ASPP_CHANNELS, classes, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Return logits (N, classes, H/4, W/4)."""
        wide = self.resize(self.aspp(features[3]))
        y: Tensor = self.classifier(self.refine(torch.cat([wide, self.low(features[0])], dim=1)))
        return y


class PSPHead(nn.Module):
    """Zhao et al., CVPR 2017: pyramid pooling at stride 8 and a classifier."""

    def __init__(self, channels: Sequence[int], classes: int, *, size: tuple[int, int]) -> None:
        super().__init__()
        self.pyramid = PyramidPooling(channels[3], PYRAMID_CHANNELS, grid=(size[0] // 8, size[1] // 8))
        self.dropout = nn.Dropout(0.1)
        self.classifier = nn.Conv2d(PYRAMID_CHANNELS, classes, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Return logits (N, classes, H/8, W/8)."""
        y: Tensor = self.classifier(self.dropout(self.pyramid(features[3])))
        return y


class FCN8Head(nn.Module):
    """Long et al., CVPR 2015, figure 3: scores at strides 32, 16 and 8, each resized by 2 and added to the next."""

    def __init__(self, channels: Sequence[int], classes: int, *, size: tuple[int, int]) -> None:
        super().__init__()
        self.score32, self.score16, self.score8 = (nn.Conv2d(channels[at], classes, 1) for at in (3, 2, 1))
        self.resize = Resize(2, 2)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Return logits (N, classes, H/8, W/8)."""
        at16 = self.score16(features[2]) + self.resize(self.score32(features[3]))
        y: Tensor = self.score8(features[1]) + self.resize(at16)
        return y


class LiteRASPPHead(nn.Module):
    """LR-ASPP (Howard et al., ICCV 2019, figure 10) on features at strides 8 and 16."""

    def __init__(self, channels: Sequence[int], classes: int, *, size: tuple[int, int]) -> None:
        super().__init__()
        self.head = LRASPPHead(channels[1], channels[3], classes)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Return logits (N, classes, H/8, W/8)."""
        logits: Tensor = self.head(features[1], features[3])
        return logits


class ConcatenationHead(nn.Module):
    """Sun et al., 2019 (HRNetV2): all resolutions resized to the finest, concatenated and mixed."""

    def __init__(self, channels: Sequence[int], classes: int, *, size: tuple[int, int]) -> None:
        super().__init__()
        self.resize = nn.ModuleList(Resize(2**at, 2**at) if at else nn.Identity() for at in range(len(channels)))
        self.mix = ConvNormAct(sum(channels), sum(channels), kernel=1)
        self.classifier = nn.Conv2d(sum(channels), classes, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Return logits (N, classes, H/4, W/4)."""
        wide = [resize(x) for resize, x in zip(self.resize, features, strict=True)]
        y: Tensor = self.classifier(self.mix(torch.cat(wide, dim=1)))
        return y


def combine(
    name: str,
    encoder: Callable[..., nn.Module],
    head: Head,
    *,
    output_stride: int,
    paper: str,
    description: str,
    size_multiple: int = 32,
) -> Architecture:
    """Return the architecture of an encoder (ours or anyone's) with one of the heads here."""
    return Architecture(
        name=name,
        build=partial(EncoderDecoder, encoder, head),
        output_stride=output_stride,
        size_multiple=size_multiple,
        paper=paper,
        description=description,
    )


DEEPLAB = "Chen et al.: Encoder-Decoder with Atrous Separable Convolution, ECCV 2018"
DEEPLAB_MOBILENET_V2 = combine(
    "deeplabv3plus_mobilenet_v2",
    partial(MobileNetV2, output_stride=16),
    DeepLabV3PlusHead,
    output_stride=4,
    paper=DEEPLAB,
    description="MobileNetV2 with atrous pyramid pooling and a decoder at stride 4",
)
DEEPLAB_RESNET50 = combine(
    "deeplabv3plus_resnet50",
    partial(ResNet, 50, output_stride=16),
    DeepLabV3PlusHead,
    output_stride=4,
    paper=DEEPLAB,
    description="a large net on ResNet-50, as a teacher",
)
PSPNET = combine(
    "pspnet_resnet18",
    partial(ResNet, 18, output_stride=8),
    PSPHead,
    output_stride=8,
    paper="Zhao et al.: Pyramid Scene Parsing Network, CVPR 2017",
    description="a dilated ResNet-18 with pyramid pooling",
)
FCN8S = combine(
    "fcn8s_resnet18",
    partial(ResNet, 18),
    FCN8Head,
    output_stride=8,
    paper="Long et al.: Fully Convolutional Networks for Semantic Segmentation, CVPR 2015",
    description="the simplest decoder: scores of three strides, added",
)
HRNET = combine(
    "hrnet_w18_small",
    HRNetSmall,
    ConcatenationHead,
    output_stride=4,
    paper="Sun et al.: High-Resolution Representations for Labeling Pixels and Regions, 2019",
    description="four parallel resolutions throughout; accurate at boundaries",
)
LRASPP_LITE = combine(
    "lraspp_efficientnet_lite0",
    partial(EfficientNetLite0, output_stride=16),
    LiteRASPPHead,
    output_stride=8,
    paper="Tan and Le: EfficientNet, ICML 2019; Howard et al.: Searching for MobileNetV3, ICCV 2019",
    description="EfficientNet-Lite0, made for int8 (ReLU6, no gates), with a one-skip head",
)
