"""Temperature scaling: one number that makes a net's probabilities mean what they say, without changing a label.

Guo et al., On Calibration of Modern Neural Networks (ICML 2017): logits are divided by the T of least negative
log-likelihood. Logits are (N, C) float32 and labels (N,) class indices everywhere here.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from edgeseg.errors import InputError
from edgeseg.pixels import place

if TYPE_CHECKING:
    from edgeseg.core.spec import Preprocess

BINS = 15
LOWEST, HIGHEST = 0.05, 20.0
PRECISION = 1e-3
"""Of log T, at which the search ends: a tenth of a percent."""


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature of least negative log-likelihood, between 0.05 and 20; raises `InputError` for no label.

    The likelihood is concave in 1 / T, so that golden-section search over log T finds its one maximum.
    """
    if not len(labels):
        raise InputError("No labelled cell is left to fit a temperature on.")
    shrink = (math.sqrt(5) - 1) / 2
    low, high = math.log(LOWEST), math.log(HIGHEST)
    left, right = high - shrink * (high - low), low + shrink * (high - low)
    at_left, at_right = (nll(logits, labels, temperature=math.exp(at)) for at in (left, right))
    while high - low > PRECISION:
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - shrink * (high - low)
            at_left = nll(logits, labels, temperature=math.exp(left))
        else:
            low, left, at_left = left, right, at_right
            right = low + shrink * (high - low)
            at_right = nll(logits, labels, temperature=math.exp(right))
    return math.exp((low + high) / 2)


def nll(logits: np.ndarray, labels: np.ndarray, *, temperature: float) -> float:
    """Return the mean negative log-likelihood of the labels in nats."""
    scaled = logits / np.float32(temperature)
    best = scaled.max(axis=1)
    norm = np.log(np.exp(scaled - best[:, None]).sum(axis=1)) + best
    return float(np.mean(norm - scaled[np.arange(len(labels)), labels], dtype=np.float64))


def ece(logits: np.ndarray, labels: np.ndarray, *, temperature: float) -> float:
    """Return the expected calibration error over 15 equal bins of the best class's probability, a fraction."""
    scaled = logits / np.float32(temperature)
    scaled -= scaled.max(axis=1, keepdims=True)
    confidence = 1 / np.exp(scaled).sum(axis=1, dtype=np.float64)
    right = scaled.argmax(axis=1) == labels
    bins = np.clip(np.ceil(confidence * BINS).astype(np.intp) - 1, 0, BINS - 1)
    gaps = np.bincount(bins, weights=confidence - right, minlength=BINS)
    return float(np.abs(gaps).sum() / len(labels))


def labels_of_cells(
    labels: np.ndarray, *, cells: tuple[int, int], input_size: tuple[int, int], preprocess: Preprocess, ignore: int
) -> np.ndarray:
    """Return the labels at the cells' centres, (h * w,), from a label map (H, W); `ignore` in a letterbox's bars."""
    size = (labels.shape[0], labels.shape[1])
    where = place(size, input_size=input_size, preprocess=preprocess)
    rows = _pixels(cells[0], input_pixels=input_size[0], start=where.top, extent=where.height, pixels=size[0])
    columns = _pixels(cells[1], input_pixels=input_size[1], start=where.left, extent=where.width, pixels=size[1])
    found = labels[np.clip(rows, 0, size[0] - 1)][:, np.clip(columns, 0, size[1] - 1)].copy()
    found[(rows < 0) | (rows >= size[0])] = ignore
    found[:, (columns < 0) | (columns >= size[1])] = ignore
    return found.reshape(-1)


def _pixels(cells: int, *, input_pixels: int, start: int, extent: int, pixels: int) -> np.ndarray:
    centres = (np.arange(cells) + 0.5) * (input_pixels / cells)
    return np.floor((centres - start) * (pixels / extent)).astype(np.intp)
