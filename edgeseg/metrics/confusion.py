"""The confusion matrix: pixel counts by true and predicted class, and the scores derived from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeseg.core.metric_value import mean_over_classes
from edgeseg.errors import DatasetError, InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray


class ConfusionMatrix:
    """Counts of (true class, predicted class), added up image by image; memory does not grow with the data set.

    >>> matrix = ConfusionMatrix(2)
    >>> _ = matrix.update(np.array([[0, 1]], np.uint8), np.array([[0, 0]], np.uint8))
    >>> matrix.per_class_iou(), matrix.pixel_accuracy()
    ((0.5, 0.0), 0.5)
    """

    def __init__(self, classes: int, *, ignore_index: int = 255) -> None:
        self.classes = classes
        self.ignore_index = ignore_index
        self.counts = np.zeros((classes, classes), np.int64)

    def update(self, predicted: NDArray[np.uint8], labels: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Add one image, both (H, W) uint8 class ids, and return its own counts, (classes, classes) int64.

        Raises:
            InputError: the two differ in size, or the prediction holds a class that the model does not have.
            DatasetError: a label is neither a class nor `ignore_index`.
        """
        if predicted.shape != labels.shape:
            raise InputError(
                f"The prediction is {_size(predicted)}, its label map {_size(labels)}; they must be equal."
            )
        valid = labels != self.ignore_index
        truth, guess = labels[valid].astype(np.int64), predicted[valid].astype(np.int64)
        if truth.size and int(truth.max()) >= self.classes:
            raise DatasetError(f"A label map holds class {int(truth.max())}; there are {self.classes} classes, from 0.")
        if guess.size and int(guess.max()) >= self.classes:
            raise InputError(f"Class {int(guess.max())} was predicted; the model has {self.classes} classes, from 0.")
        counts = np.bincount(truth * self.classes + guess, minlength=self.classes**2)
        counts = counts.reshape(self.classes, self.classes)
        self.counts += counts
        return counts

    def per_class_iou(self) -> tuple[float | None, ...]:
        """Return intersection over union of each class; None for a class that neither occurs nor is predicted."""
        return _shares(self._hits(), self._truths() + self._guesses() - self._hits())

    def per_class_dice(self) -> tuple[float | None, ...]:
        """Return Dice's coefficient (F1 of the pixels) of each class; None as in `per_class_iou`."""
        return _shares(2 * self._hits(), self._truths() + self._guesses())

    def miou(self) -> float:
        """Return the mean of the IoUs that are not None; 0.0 if there are none."""
        return _mean(self.per_class_iou())

    def pixel_accuracy(self) -> float:
        """Return the share of labelled pixels with the correct class; 0.0 if no pixel is labelled."""
        return float(self._hits().sum() / max(1, self.pixels))

    @property
    def pixels(self) -> int:
        """The number of labelled pixels counted."""
        return int(self.counts.sum())

    def _hits(self) -> NDArray[np.int64]:
        return np.diag(self.counts)

    def _truths(self) -> NDArray[np.int64]:
        result: NDArray[np.int64] = self.counts.sum(axis=1)
        return result

    def _guesses(self) -> NDArray[np.int64]:
        result: NDArray[np.int64] = self.counts.sum(axis=0)
        return result


def _mean(values: tuple[float | None, ...]) -> float:
    return mean_over_classes({str(index): value for index, value in enumerate(values)}).value or 0.0


def _shares(parts: NDArray[np.int64], wholes: NDArray[np.int64]) -> tuple[float | None, ...]:
    return tuple(float(part / whole) if whole else None for part, whole in zip(parts, wholes, strict=True))


def _size(labels: NDArray[np.uint8]) -> str:
    return "x".join(str(side) for side in labels.shape)
