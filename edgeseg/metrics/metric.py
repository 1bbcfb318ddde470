"""What a metric is: `update` with each image, then `compute`; found by the entry point group `edgeseg.metrics`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from edgeseg.core.metric_value import MetricValue

Need = Literal["labels", "logits", "frames"]
"""What a metric reads: label maps; logits of labelled cells too; or the images as frames of a video, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What a net made of one image.

    `labels` is its label map, (H, W) uint8, and `image` the image, (H, W, 3) uint8 BGR. `logits`, (N, C) float32, are
    those of the N labelled cells of the net's output, at its own resolution, and `cell_labels`, (N,), their true
    classes; both are None where the net gives labels only.
    """

    labels: NDArray[np.uint8]
    image: NDArray[np.uint8] | None = None
    logits: NDArray[np.float32] | None = None
    cell_labels: NDArray[np.intp] | None = None


@runtime_checkable
class Metric(Protocol):
    """Adds up over images; memory does not grow with the data set."""

    need: Need

    def update(self, prediction: Prediction, truth: NDArray[np.uint8], /) -> None:
        """Add an image with its label map, (H, W) uint8, at the size of `prediction.labels`."""

    def compute(self) -> dict[str, MetricValue]:
        """Return the values by name; a value of None where nothing could be counted."""


class MetricMaker(Protocol):
    """What an entry point of `edgeseg.metrics` names: usually the metric's class."""

    def __call__(self, classes: tuple[str, ...], /, *, ignore_index: int) -> Metric: ...
