"""The metric protocol: `update` with each image, then `compute`. Entry-point group: `edgeseg.metrics`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from edgeseg.core.metric_value import MetricValue

Need = Literal["labels", "logits", "frames"]
"""What a metric reads: label maps; also the logits of labelled cells; or images as the frames of a video, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """A net's prediction for one image.

    `labels` is the predicted label map, (H, W) uint8, and `image` the image, (H, W, 3) uint8 BGR. `logits`, (N, C)
    float32, are those of the N labelled cells of the net's output at its own resolution, and `cell_labels`, (N,), their
    true classes; both are None if the net outputs labels only.
    """

    labels: NDArray[np.uint8]
    image: NDArray[np.uint8] | None = None
    logits: NDArray[np.float32] | None = None
    cell_labels: NDArray[np.intp] | None = None


@runtime_checkable
class Metric(Protocol):
    """Accumulates over images; memory does not grow with the data set."""

    need: Need

    def update(self, prediction: Prediction, truth: NDArray[np.uint8], /) -> None:
        """Add an image with its label map, (H, W) uint8, at the size of `prediction.labels`."""

    def compute(self) -> dict[str, MetricValue]:
        """Return the values by name; a value is None if nothing was counted."""


class MetricMaker(Protocol):
    """The object behind an entry point of `edgeseg.metrics`: usually the metric's class."""

    def __call__(self, classes: tuple[str, ...], /, *, ignore_index: int) -> Metric:
        """Return a new metric for these classes."""
        ...
