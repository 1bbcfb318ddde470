"""LR-ASPP on MobileNetV3: Howard et al., "Searching for MobileNetV3", ICCV 2019, section 6.4 and figure 10."""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from edgeseg.models.architecture import Architecture
from edgeseg.models.blocks.layers import AuxHead, ConvNormAct, Resize, initialise
from edgeseg.models.encoders.mobilenet_v3 import MobileNetV3

PAPER = "Howard et al.: Searching for MobileNetV3, ICCV 2019"
_HEAD_CHANNELS = 128


class LRASPPHead(nn.Module):
    """128 gated channels at stride 16, classified, resized to stride 8 and added to the classified skip.

    Two departures from figure 10: the gate pools the whole map (as torchvision does; the paper's 49x49 window covers
    most of its own input), and the 1x1 classifier runs before the resize. Both are linear, and bilinear weights add
    up to one, so the logits are the same and the resize moves `classes` channels instead of 128.
    """

    def __init__(self, low: int, high: int, classes: int) -> None:
        super().__init__()
        self.cbr = ConvNormAct(high, _HEAD_CHANNELS, kernel=1)
        self.scale = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(high, _HEAD_CHANNELS, 1, bias=False), nn.Sigmoid()
        )
        self.high_classifier = nn.Conv2d(_HEAD_CHANNELS, classes, 1)
        self.resize = Resize(2, 2)
        self.low_classifier = nn.Conv2d(low, classes, 1)

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        """Return logits (N, classes, H/8, W/8) from low (N, low, H/8, W/8) and high (N, high, H/16, W/16)."""
        gated = self.cbr(high) * self.scale(high)
        logits: Tensor = self.low_classifier(low) + self.resize(self.high_classifier(gated))
        return logits


class LRASPP(nn.Module):
    """MobileNetV3 with the LR-ASPP head; logits at stride 8. Any size works: the head pools the whole map.

    `dilate_first` is the encoder's, for torchvision's weights of the whole net.
    """

    def __init__(
        self,
        variant: str,
        *,
        classes: int,
        size: tuple[int, int],
        aux: bool = False,
        width: float = 1.0,
        reduced_tail: bool = False,
        hardswish: type[nn.Module] = nn.Hardswish,
        dilate_first: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = MobileNetV3(
            variant, width=width, reduced_tail=reduced_tail, hardswish=hardswish, dilate_first=dilate_first
        )
        self.head = LRASPPHead(self.encoder.low_channels, self.encoder.channels, classes)
        self.aux = nn.ModuleList([AuxHead(self.encoder.middle_channels, classes)] if aux else [])
        initialise(self)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Return logits (N, classes, H/8, W/8) from normalized images x (N, 3, H, W).

        In training mode with the auxiliary head: (logits, aux at stride 16).
        """
        low, middle, high = self.encoder(x)
        logits: Tensor = self.head(low, high)
        if self.training and len(self.aux):
            return logits, self.aux[0](middle)
        return logits


def _architecture(variant: str, *, description: str, relu: bool = False) -> Architecture:
    return Architecture(
        name=f"lraspp_mobilenet_v3_{variant}{'_relu' if relu else ''}",
        build=partial(LRASPP, variant, hardswish=nn.ReLU if relu else nn.Hardswish),
        output_stride=8,
        size_multiple=32,
        paper=PAPER,
        description=description,
    )


LRASPP_SMALL = _architecture("small", description="a light encoder with public ImageNet weights and a one-skip head")
LRASPP_LARGE = _architecture(
    "large", description="the most accurate here, two to three times the work of the small one"
)
LRASPP_SMALL_RELU = _architecture(
    "small", description="the small one with ReLU instead of hard-swish: int8 throughout", relu=True
)
