"""Pixel accuracy: the share of labelled pixels with the correct class."""

from __future__ import annotations

from edgeseg.core.metric_value import MetricValue
from edgeseg.metrics.pixel_count_metric import PixelCountMetric


class PixelAccuracy(PixelCountMetric):
    """`pixel_accuracy`, from the pixel counts of all images."""

    def compute(self) -> dict[str, MetricValue]:
        """Return `pixel_accuracy`; None where no pixel is labelled."""
        return {"pixel_accuracy": MetricValue(value=self._counts.pixel_accuracy() if self._counts.pixels else None)}
