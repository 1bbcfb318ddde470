"""Temperature scaling: calibrates a net's probabilities with one number, without changing any label.

Guo et al., On Calibration of Modern Neural Networks (ICML 2017): logits are divided by the temperature T with the
lowest negative log-likelihood. In this module logits are (N, C) float32 and labels (N,) class indices.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from edgeseg.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

LOWEST_TEMPERATURE, HIGHEST_TEMPERATURE = 0.05, 20.0
_PRECISION = 1e-3
"""Precision of log T at which the search ends: a tenth of a percent."""


def fit_temperature(logits: NDArray[np.float32], labels: NDArray[np.intp]) -> float:
    """Return the temperature with the lowest negative log-likelihood, between 0.05 and 20.

    The log-likelihood is concave in 1 / T, so golden-section search over log T finds its single maximum.

    Raises:
        InputError: there are no labels.
    """
    if not len(labels):
        raise InputError("There is no labelled cell to fit a temperature to.")
    shrink = (math.sqrt(5) - 1) / 2
    low, high = math.log(LOWEST_TEMPERATURE), math.log(HIGHEST_TEMPERATURE)
    left, right = high - shrink * (high - low), low + shrink * (high - low)
    at_left, at_right = (nll(logits, labels, temperature=math.exp(at)) for at in (left, right))
    while high - low > _PRECISION:
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - shrink * (high - low)
            at_left = nll(logits, labels, temperature=math.exp(left))
        else:
            low, left, at_left = left, right, at_right
            right = low + shrink * (high - low)
            at_right = nll(logits, labels, temperature=math.exp(right))
    return math.exp((low + high) / 2)


def nll(logits: NDArray[np.float32], labels: NDArray[np.intp], *, temperature: float) -> float:
    """Return the mean negative log-likelihood of the labels in nats."""
    scaled = logits / np.float32(temperature)
    best = scaled.max(axis=1)
    norm = np.log(np.exp(scaled - best[:, None]).sum(axis=1)) + best
    return float(np.mean(norm - scaled[np.arange(len(labels)), labels], dtype=np.float64))
