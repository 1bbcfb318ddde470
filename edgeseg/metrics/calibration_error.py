"""Calibration error: the difference between a net's confidence and its accuracy.

Naeini et al., Obtaining Well Calibrated Probabilities Using Bayesian Binning, AAAI 2015; over 15 equal bins of the
best class's probability, as Guo et al. (ICML 2017) use it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeseg.core.metric_value import MetricValue

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeseg.metrics.metric import Need, Prediction

_BINS = 15


class CalibrationError:
    """`calibration_error`, over the labelled cells of the net's output at its own resolution."""

    need: Need = "logits"

    def __init__(self, _classes: tuple[str, ...], /, *, ignore_index: int) -> None:
        self._ignore_index = ignore_index
        self._gaps = np.zeros(_BINS)
        self._cells = 0

    def update(self, prediction: Prediction, _truth: NDArray[np.uint8], /) -> None:
        """Add the labelled cells of an image; nothing if the net outputs labels only."""
        if prediction.logits is None or prediction.cell_labels is None:
            return
        known = prediction.cell_labels != self._ignore_index
        self._gaps += _gaps(prediction.logits[known], prediction.cell_labels[known])
        self._cells += int(np.count_nonzero(known))

    def compute(self) -> dict[str, MetricValue]:
        """Return `calibration_error`; its value is None before the first labelled cell."""
        value = float(np.abs(self._gaps).sum() / self._cells) if self._cells else None
        return {"calibration_error": MetricValue(value=value, better="lower")}


def calibration_error(logits: NDArray[np.float32], labels: NDArray[np.intp], *, temperature: float = 1.0) -> float:
    """Return the expected calibration error, a fraction, of logits (N, C) divided by `temperature`; labels are (N,).

    >>> logits, labels = np.array([[9.0, -9.0], [9.0, -9.0]], np.float32), np.array([0, 1])
    >>> round(calibration_error(logits, labels), 3)  # certain, but right in one case of two
    0.5
    """
    return float(np.abs(_gaps(logits / np.float32(temperature), labels)).sum() / len(labels))


def _gaps(logits: NDArray[np.float32], labels: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the sum of confidence minus correctness in each bin, (BINS,)."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    confidence = 1 / np.exp(shifted).sum(axis=1, dtype=np.float64)
    correct = shifted.argmax(axis=1) == labels
    bins = np.clip(np.ceil(confidence * _BINS).astype(np.intp) - 1, 0, _BINS - 1)
    return np.bincount(bins, weights=confidence - correct, minlength=_BINS).astype(np.float64)
