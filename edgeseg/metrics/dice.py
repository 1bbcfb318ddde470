"""Dice's coefficient, the F1 of a class's pixels, averaged over classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeseg.metrics.pixel_count_metric import PixelCountMetric

if TYPE_CHECKING:
    from edgeseg.core.metric_value import MetricValue


class MeanDice(PixelCountMetric):
    """`mean_dice`, from the pixel counts of all images."""

    def compute(self) -> dict[str, MetricValue]:
        """Return `mean_dice`, with the value of each class."""
        return {"mean_dice": self._class_mean(self._counts.per_class_dice())}
