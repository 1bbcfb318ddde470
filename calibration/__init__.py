"""Calibration sets: selects, checks and fingerprints the images on which a model's int8 ranges are observed.

It needs no torch: the float model is passed in as a callable.
"""

from __future__ import annotations

from edgeseg.calibration.finding import CalibrationFinding
from edgeseg.calibration.fingerprint import preprocess_sha256, tensors_sha256
from edgeseg.calibration.selecting import CalibrationSelection, select
from edgeseg.calibration.sources import CalibrationSource, leave_out, open_source

__all__ = [
    "CalibrationFinding",
    "CalibrationSelection",
    "CalibrationSource",
    "leave_out",
    "open_source",
    "preprocess_sha256",
    "select",
    "tensors_sha256",
]
