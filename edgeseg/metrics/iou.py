"""Mean IoU (the Jaccard index): pixels of a class in both maps over those in either, averaged over classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeseg.metrics.pixel_count_metric import PixelCountMetric

if TYPE_CHECKING:
    from edgeseg.core.metric_value import MetricValue


class MeanIou(PixelCountMetric):
    """`miou`, from the pixel counts of all images."""

    def compute(self) -> dict[str, MetricValue]:
        """Return `miou`, with the value of each class."""
        return {"miou": self._class_mean(self._counts.per_class_iou())}
