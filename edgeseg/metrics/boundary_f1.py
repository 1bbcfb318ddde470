"""Boundary F1: how close the predicted boundaries of a class are to the true ones.

Csurka, Larlus, Perronnin: What is a good evaluation measure for semantic segmentation? BMVC 2013.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from edgeseg.core.metric_value import MetricValue, mean_over_classes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeseg.metrics.metric import Need, Prediction

_TOLERANCE = 0.0075
"""Share of the image's diagonal within which a boundary pixel counts as matched (0.75 %, as in the paper)."""


class BoundaryF1:
    """`boundary_f1`: per class, averaged over the images in which the class has a true or predicted boundary."""

    need: Need = "labels"

    def __init__(self, classes: tuple[str, ...], /, *, ignore_index: int, tolerance: float = _TOLERANCE) -> None:
        self._classes = classes
        self.ignore_index = ignore_index
        self.tolerance = tolerance
        self._sums = np.zeros(len(classes))
        self._images = np.zeros(len(classes), np.int64)

    def update(self, prediction: Prediction, truth: NDArray[np.uint8], /) -> None:
        """Add an image. Unlabelled pixels form no boundary."""
        predicted, labels = prediction.labels, truth
        theta = self.tolerance * math.hypot(*labels.shape)
        valid = labels != self.ignore_index
        true_edges, guessed_edges = _edges(labels, valid), _edges(predicted, valid)
        for index in range(len(self._sums)):
            true_edge, guessed_edge = true_edges & (labels == index), guessed_edges & (predicted == index)
            if true_edge.any() or guessed_edge.any():
                self._sums[index] += _f1(guessed_edge, true_edge, theta)
                self._images[index] += 1

    def per_class(self) -> tuple[float | None, ...]:
        """Return the score of each class, 0 to 1; None for a class that never had a boundary."""
        pairs = zip(self._sums, self._images, strict=True)
        return tuple(float(total / count) if count else None for total, count in pairs)

    def compute(self) -> dict[str, MetricValue]:
        """Return `boundary_f1`, with each class's own value."""
        return {"boundary_f1": mean_over_classes(dict(zip(self._classes, self.per_class(), strict=True)))}


def _edges(labels: NDArray[np.uint8], valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return where a labelled pixel has a labelled 4-neighbour of another class, (H, W) bool."""
    edges = np.zeros(labels.shape, bool)
    beside = (labels[:, 1:] != labels[:, :-1]) & valid[:, 1:] & valid[:, :-1]
    edges[:, 1:] |= beside
    edges[:, :-1] |= beside
    below = (labels[1:] != labels[:-1]) & valid[1:] & valid[:-1]
    edges[1:] |= below
    edges[:-1] |= below
    return edges


def _f1(guessed: NDArray[np.bool_], true: NDArray[np.bool_], theta: float) -> float:
    """Return the F1 of precision (predicted pixels near a true one) and recall (true pixels near a predicted one)."""
    precision, recall = _share_near(guessed, true, theta), _share_near(true, guessed, theta)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _share_near(edge: NDArray[np.bool_], other: NDArray[np.bool_], theta: float) -> float:
    """Return the share of `edge` pixels that are within `theta` pixels of an `other` pixel."""
    import cv2

    if not edge.any() or not other.any():
        return 0.0
    distance = cv2.distanceTransform((~other).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return float((distance[edge] < theta).mean())
