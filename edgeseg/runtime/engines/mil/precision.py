"""Half precision, as values: float32 arrays that hold nothing a half could not."""

from __future__ import annotations

import numpy as np


def to_half(array: np.ndarray) -> np.ndarray:
    """Return float32 values rounded to the nearest half, ties to even; beyond 65504 infinite, as on a device."""
    with np.errstate(over="ignore"):
        return array.astype(np.float16).astype(np.float32)
