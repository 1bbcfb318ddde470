"""How much two nets' IoUs differ on the same labelled images, with bootstrap intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeseg.core.gate import Interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

IOU_RESAMPLES = 1000


def iou_changes(
    before: Sequence[NDArray[np.int64]], after: Sequence[NDArray[np.int64]]
) -> tuple[Interval | None, tuple[Interval | None, ...]]:
    """Return the change of the mean IoU and of each class's, each with its 95 % interval.

    `before` and `after` hold one confusion matrix (C, C), true class first, for each of the same images. Whole images
    are drawn with replacement, the same ones for both (paired percentile bootstrap; Efron, Tibshirani: An Introduction
    to the Bootstrap, 1993). The change is None where no image shows or predicts a class, or where there are no images.
    """
    if not before:
        return None, ()
    weights = np.random.default_rng(0).multinomial(
        len(before), np.full(len(before), 1 / len(before)), size=IOU_RESAMPLES
    )
    weights = np.concatenate([np.ones((1, len(before)), weights.dtype), weights])
    changes = _ious(np.stack(after), weights) - _ious(np.stack(before), weights)
    return _interval(_mean(changes)), tuple(_interval(column) for column in changes.T)


def _ious(counts: NDArray[np.int64], weights: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return IoUs (resamples, C); a class that a resample lacks is NaN."""
    images, classes, _ = counts.shape
    drawn = (weights @ counts.reshape(images, -1)).reshape(len(weights), classes, classes)
    hits = np.diagonal(drawn, axis1=1, axis2=2)
    whole = drawn.sum(axis=1) + drawn.sum(axis=2) - hits
    return np.where(whole > 0, hits / np.maximum(whole, 1), np.nan)


def _mean(changes: NDArray[np.float64]) -> NDArray[np.float64]:
    known = ~np.isnan(changes)
    mean: NDArray[np.float64] = np.nansum(changes, axis=1) / np.maximum(known.sum(axis=1), 1)
    return mean


def _interval(changes: NDArray[np.float64]) -> Interval | None:
    if np.isnan(changes[0]):
        return None
    drawn = changes[1:][~np.isnan(changes[1:])]
    low, high = np.percentile(drawn, (2.5, 97.5)) if drawn.size else (changes[0], changes[0])
    return Interval(value=float(changes[0]), low=float(low), high=float(high))
