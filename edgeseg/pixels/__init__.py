"""Images to tensors and tensors to label maps: one implementation for training, calibration and every device."""

from __future__ import annotations

from edgeseg.pixels.decode import decode
from edgeseg.pixels.geometry import Placement, place
from edgeseg.pixels.logits import probabilities, real_logits, softmax
from edgeseg.pixels.prepare import check_image, fit, prepare

__all__ = ["Placement", "check_image", "decode", "fit", "place", "prepare", "probabilities", "real_logits", "softmax"]
