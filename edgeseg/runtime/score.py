"""Running mIoU against a source that knows its own labels."""

from __future__ import annotations

import numpy as np


class Score:
    """A confusion matrix over all frames so far; pixels of `ignore_index` and of unknown classes do not count."""

    def __init__(self, classes: int) -> None:
        self._classes = classes
        self._matrix = np.zeros((classes, classes), dtype=np.int64)

    def add(self, predicted: np.ndarray, truth: np.ndarray) -> None:
        """Count one frame, both (H, W) uint8."""
        known = truth < self._classes
        pair = truth[known].astype(np.int32) * self._classes + np.minimum(predicted[known], self._classes - 1)
        self._matrix += np.bincount(pair, minlength=self._classes**2).reshape(self._matrix.shape)

    def miou(self) -> float | None:
        """Return the mean IoU, a fraction, over the classes that occurred or were predicted; None before any did."""
        hit = np.diag(self._matrix)
        union = self._matrix.sum(axis=0) + self._matrix.sum(axis=1) - hit
        seen = union > 0
        return float(np.mean(hit[seen] / union[seen])) if seen.any() else None
