"""What the metrics that need nothing but pixel counts share: `PixelCountMetric`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from edgeseg.core.metric_value import MetricValue, mean_over_classes
from edgeseg.metrics.confusion import ConfusionMatrix

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgeseg.metrics.metric import Need, Prediction


class PixelCountMetric(ABC):
    """Counts the pixels of all images in one confusion matrix; subclasses compute a value from it."""

    need: Need = "labels"

    def __init__(self, classes: tuple[str, ...], /, *, ignore_index: int) -> None:
        self._classes = classes
        self._counts = ConfusionMatrix(len(classes), ignore_index=ignore_index)

    def update(self, prediction: Prediction, truth: NDArray[np.uint8], /) -> None:
        """Add an image; raises as `ConfusionMatrix.update` does."""
        self._counts.update(prediction.labels, truth)

    @abstractmethod
    def compute(self) -> dict[str, MetricValue]:
        """Return the metric's values by name."""

    def _class_mean(self, values: tuple[float | None, ...]) -> MetricValue:
        """Return the mean of one value per class, in the classes' order, with each class's value."""
        return mean_over_classes(dict(zip(self._classes, values, strict=True)))
