"""Mean IoU (the Jaccard index): pixels of a class in both maps over those in either, averaged over classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeseg.core.metric_value import MetricValue, mean_over_classes
from edgeseg.metrics.confusion import ConfusionMatrix

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgeseg.metrics.metric import Need, Prediction


class MeanIou:
    """`miou`, from the pixel counts of all images."""

    need: Need = "labels"

    def __init__(self, classes: tuple[str, ...], /, *, ignore_index: int) -> None:
        self._classes = classes
        self._counts = ConfusionMatrix(len(classes), ignore_index=ignore_index)

    def update(self, prediction: Prediction, truth: NDArray[np.uint8], /) -> None:
        """Add an image; raises as `ConfusionMatrix.update` does."""
        self._counts.update(prediction.labels, truth)

    def compute(self) -> dict[str, MetricValue]:
        """Return `miou`, with the value of each class."""
        return {"miou": mean_over_classes(dict(zip(self._classes, self._counts.per_class_iou(), strict=True)))}
