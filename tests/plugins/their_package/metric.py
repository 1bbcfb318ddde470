"""A metric: frequency-weighted IoU (Long, Shelhamer, Darrell, "Fully Convolutional Networks", CVPR 2015, section 5)."""

import numpy as np

from edgeseg.core.metric_value import MetricValue


class FrequencyWeightedIou:
    need = "labels"

    def __init__(self, classes: tuple[str, ...], /, *, ignore_index: int) -> None:
        self._ignore = ignore_index
        self._counts = np.zeros((len(classes), len(classes)), np.int64)

    def update(self, prediction, truth, /) -> None:
        """Add an image's label map, (H, W) uint8."""
        known = truth != self._ignore
        np.add.at(self._counts, (truth[known], prediction.labels[known]), 1)

    def compute(self) -> dict[str, MetricValue]:
        """Return the mean of the classes' IoU, weighted by their true pixels."""
        true, hit = self._counts.sum(axis=1), np.diag(self._counts)
        iou = hit / np.maximum(true + self._counts.sum(axis=0) - hit, 1)
        value = float((true * iou).sum() / true.sum()) if true.sum() else None
        return {"frequency_weighted_iou": MetricValue(value=value)}
