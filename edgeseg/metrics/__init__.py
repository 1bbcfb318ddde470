"""Segmentation metrics, one file each; any package can add one under the entry point `edgeseg.metrics`.

They need numpy and the standard library only; OpenCV is imported where a metric needs it.
"""

from __future__ import annotations

from edgeseg.metrics.confusion import ConfusionMatrix
from edgeseg.metrics.metric import Metric, MetricMaker, Prediction
from edgeseg.metrics.metric_set import MetricSet

__all__ = ["ConfusionMatrix", "Metric", "MetricMaker", "MetricSet", "Prediction"]
