"""Images to tensors and tensors to label maps: one implementation for training, calibration and every device."""

from __future__ import annotations

from edgeseg.pixels.cells import labels_of_cells
from edgeseg.pixels.decode import decode
from edgeseg.pixels.geometry import Placement, place
from edgeseg.pixels.logits import probabilities, real_logits, softmax
from edgeseg.pixels.prepare import check_image, fit, prepare

__all__ = [
    "Placement",
    "check_image",
    "decode",
    "fit",
    "labels_of_cells",
    "place",
    "prepare",
    "probabilities",
    "real_logits",
    "softmax",
]
