"""How well the edges of the classes are met: the boundary F1 score.

Csurka, Larlus, Perronnin: What is a good evaluation measure for semantic segmentation? BMVC 2013.
"""

from __future__ import annotations

import math

import numpy as np

from edgeseg.core.confusion import mean_known

TOLERANCE = 0.0075
"""Share of the image's diagonal within which a boundary pixel counts as met (0.75 %, as in the paper)."""


class BoundaryF1:
    """Boundary F1 of each class, averaged over the images in which the class has a boundary, true or predicted."""

    def __init__(self, classes: int, *, ignore_index: int = 255, tolerance: float = TOLERANCE) -> None:
        self.ignore_index = ignore_index
        self.tolerance = tolerance
        self._sums = np.zeros(classes)
        self._images = np.zeros(classes, np.int64)

    def update(self, predicted: np.ndarray, labels: np.ndarray) -> None:
        """Add one image; both (H, W) uint8 class ids. Pixels without a label neither have nor make a boundary."""
        theta = self.tolerance * math.hypot(*labels.shape)
        valid = labels != self.ignore_index
        truth, guess = _edges(labels, valid), _edges(predicted, valid)
        for index in range(len(self._sums)):
            true_edge, guessed_edge = truth & (labels == index), guess & (predicted == index)
            if true_edge.any() or guessed_edge.any():
                self._sums[index] += _f1(guessed_edge, true_edge, theta)
                self._images[index] += 1

    def per_class(self) -> tuple[float | None, ...]:
        """Return the score of each class; None for one that never had a boundary."""
        pairs = zip(self._sums, self._images, strict=True)
        return tuple(float(total / count) if count else None for total, count in pairs)

    def mean(self) -> float:
        """Return the mean over the classes that had a boundary; 0.0 where none had."""
        return mean_known(self.per_class())


def _edges(labels: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Return where a labelled pixel has a labelled 4-neighbour of another class, (H, W) bool."""
    edges = np.zeros(labels.shape, bool)
    beside = (labels[:, 1:] != labels[:, :-1]) & valid[:, 1:] & valid[:, :-1]
    edges[:, 1:] |= beside
    edges[:, :-1] |= beside
    below = (labels[1:] != labels[:-1]) & valid[1:] & valid[:-1]
    edges[1:] |= below
    edges[:-1] |= below
    return edges


def _f1(guessed: np.ndarray, true: np.ndarray, theta: float) -> float:
    """Return the F1 of precision (guessed pixels near a true one) and recall (true pixels near a guessed one)."""
    precision, recall = _share_near(guessed, true, theta), _share_near(true, guessed, theta)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _share_near(edge: np.ndarray, other: np.ndarray, theta: float) -> float:
    """Return the share of `edge` pixels that are nearer than `theta` pixels to one of `other`."""
    import cv2

    if not edge.any() or not other.any():
        return 0.0
    distance = cv2.distanceTransform((~other).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return float((distance[edge] < theta).mean())
