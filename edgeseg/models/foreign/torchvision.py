"""torchvision: LR-ASPP on MobileNetV3-Large, whose modules have almost our names."""

from __future__ import annotations

from edgeseg.models.encoders.mobilenet_v3 import MOBILENET_V3_LARGE
from edgeseg.models.foreign.key_map import KeyMap

TORCHVISION_LRASPP = KeyMap(
    layout="torchvision LR-ASPP",
    net="lraspp_mobilenet_v3_large",
    arguments={"dilate_first": True},
    modules=(
        # The first convolution, one block a row of the table, and the last convolution.
        *((f"backbone.{at}", f"encoder.features.{at}") for at in range(len(MOBILENET_V3_LARGE) + 2)),
        *((f"classifier.{name}", f"head.{name}") for name in ("cbr", "scale", "low_classifier", "high_classifier")),
    ),
    classifier="head.high_classifier.weight",
)
