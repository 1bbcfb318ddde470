"""The change in accuracy through a conversion, with its interval: two segmenters on the same images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeseg.bench.accuracy import Segmenter, check_same_classes, image_count, spec_of
from edgeseg.metrics.confusion import ConfusionMatrix

if TYPE_CHECKING:
    from edgeseg.core.progress import Progress
    from edgeseg.data import Dataset


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyChange:
    """mIoU of an artifact against its baseline; all values are fractions.

    `change` is negative if the artifact is worse; `low` and `high` bound it with `confidence`. `label_agreement` is the
    share of all pixels, including ignored ones, that got the same class from both.
    """

    images: int
    baseline_miou: float
    miou: float
    change: float
    low: float
    high: float
    confidence: float
    label_agreement: float


def compare_accuracy(
    session: Segmenter,
    baseline: Segmenter,
    dataset: Dataset,
    *,
    limit: int | None = None,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> AccuracyChange:
    """Return the change in mIoU from `baseline` to `session`, with the interval of a paired bootstrap over images.

    Percentile bootstrap (Efron, 1979): images are drawn with replacement, the same ones for both.

    Raises:
        InputError: the classes differ, or there is no image.
    """
    check_same_classes(dataset, spec_of(session))
    check_same_classes(dataset, spec_of(baseline))
    total = image_count(dataset, limit=limit)
    classes = len(dataset.classes)
    ours = ConfusionMatrix(classes, ignore_index=dataset.ignore_index)
    theirs = ConfusionMatrix(classes, ignore_index=dataset.ignore_index)
    counts = np.zeros((2, total, classes, classes), np.int64)
    equal = pixels = 0
    for index in range(total):
        sample = dataset.load(index)
        labels, reference = session.segment(sample.image), baseline.segment(sample.image)
        counts[0, index] = ours.update(labels, sample.labels)
        counts[1, index] = theirs.update(reference, sample.labels)
        equal += int((labels == reference).sum())
        pixels += labels.size
        if on_progress is not None:
            on_progress("validate", index + 1, total)
    low, high = _interval(counts, resamples=resamples, confidence=confidence, seed=seed)
    return AccuracyChange(
        images=total,
        baseline_miou=theirs.miou(),
        miou=ours.miou(),
        change=ours.miou() - theirs.miou(),
        low=low,
        high=high,
        confidence=confidence,
        label_agreement=equal / pixels,
    )


def _interval(counts: np.ndarray, *, resamples: int, confidence: float, seed: int) -> tuple[float, float]:
    """Return the bounds of the change; `counts` is (artifact or baseline, images, classes, classes)."""
    rng = np.random.default_rng(seed)
    images = counts.shape[1]
    changes = np.empty(resamples)
    for index in range(resamples):
        # How often each image is drawn, instead of which: one small product replaces copying matrices.
        weights = np.bincount(rng.integers(images, size=images), minlength=images)
        ours, theirs = np.tensordot(counts, weights, axes=([1], [0]))
        changes[index] = _miou(ours) - _miou(theirs)
    tail = (1 - confidence) / 2
    low, high = np.quantile(changes, [tail, 1 - tail])
    return float(low), float(high)


def _miou(counts: np.ndarray) -> float:
    hits = np.diag(counts)
    union = counts.sum(axis=0) + counts.sum(axis=1) - hits
    seen = union > 0
    return float((hits[seen] / union[seen]).mean()) if seen.any() else 0.0
