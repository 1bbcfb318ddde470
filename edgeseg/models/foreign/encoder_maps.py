"""The key maps of encoders whose keys differ from ours; torchvision's and timm's are the same as ours."""

from __future__ import annotations

from edgeseg.models.foreign import efficientnet_pytorch

ENCODER_MAPS = (efficientnet_pytorch.LITE0,)
