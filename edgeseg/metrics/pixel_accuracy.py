"""Pixel accuracy: the share of labelled pixels with the correct class."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeseg.core.metric_value import MetricValue
from edgeseg.metrics.confusion import ConfusionMatrix

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgeseg.metrics.metric import Need, Prediction


class PixelAccuracy:
    """`pixel_accuracy`, from the pixel counts of all images."""

    need: Need = "labels"

    def __init__(self, classes: tuple[str, ...], /, *, ignore_index: int) -> None:
        self._counts = ConfusionMatrix(len(classes), ignore_index=ignore_index)

    def update(self, prediction: Prediction, truth: NDArray[np.uint8], /) -> None:
        """Add an image; raises as `ConfusionMatrix.update` does."""
        self._counts.update(prediction.labels, truth)

    def compute(self) -> dict[str, MetricValue]:
        """Return `pixel_accuracy`."""
        return {"pixel_accuracy": MetricValue(value=self._counts.pixel_accuracy() if self._counts.pixels else None)}
