"""Key maps of whole nets, only of those that compute the same as ours; matching shapes are not enough."""

from __future__ import annotations

from dataclasses import dataclass

from edgeseg.models.foreign.coincheung import COINCHEUNG_BISENET_V1, COINCHEUNG_BISENET_V2
from edgeseg.models.foreign.hugging_face import PUBLISHED_SEGFORMER_B0, SEGFORMER_B0_IN_TRANSFORMERS_5
from edgeseg.models.foreign.mmsegmentation import MMSEGMENTATION_MAPS
from edgeseg.models.foreign.torchvision import TORCHVISION_LRASPP
from edgeseg.models.foreign.tramac import TRAMAC_FAST_SCNN


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherLayout:
    """Weights that are known and that no net here computes: some of their keys, the difference, and what to do."""

    layout: str
    keys: tuple[str, ...]
    difference: str


NET_MAPS = (
    PUBLISHED_SEGFORMER_B0,
    SEGFORMER_B0_IN_TRANSFORMERS_5,
    COINCHEUNG_BISENET_V1,
    COINCHEUNG_BISENET_V2,
    TRAMAC_FAST_SCNN,
    *MMSEGMENTATION_MAPS,
    TORCHVISION_LRASPP,
)
OTHER_LAYOUTS = (
    OtherLayout(
        layout="torchvision DeepLabv3",
        keys=("classifier.0.convs.0.0.weight", "classifier.0.project.0.weight"),
        difference="it has atrous pyramid pooling and a 3x3 convolution but no decoder, where the nets here are "
        "DeepLabv3+. Train from its encoder alone: [model] encoder in a recipe of deeplabv3plus_resnet50, or of "
        "lraspp_mobilenet_v3_large for MobileNetV3-Large.",
    ),
    OtherLayout(
        layout="CoinCheung BiSeNetV1 of its earlier code",
        keys=("cp.resnet.conv1.weight", "ffm.conv1.weight"),
        difference="its last layer shuffles 64 logits of each class to full size, or has no bias. Use weights "
        "of its present code (model_final_v1_city_new.pth), or bring the net as package.module:factory.",
    ),
    OtherLayout(
        layout="CoinCheung BiSeNetV2 of its earlier code",
        keys=("bga.left1.0.weight", "head.conv_out.0.weight"),
        difference="its last layer shuffles 64 logits of each class to full size. Use weights of its present code, "
        "or bring the net as package.module:factory.",
    ),
)
