"""Flicker: the share of pixels whose label changes from one frame to the next although the image there did not.

A pixel counts as unchanged where its grey level differs by at most a threshold. For a moving camera each frame is
first compared along dense optical flow (DIS: Kroeger et al., ECCV 2016; OpenCV's), which is slow and meant for files.
Temporal consistency of video segmentation is measured along flow in the same way by Lai et al., ECCV 2018.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeseg.core.metric_value import MetricValue

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from edgeseg.metrics.metric import Need, Prediction

GREY_STEP = 3
"""Grey levels by which noise and video coding move a pixel that shows the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flicker:
    """`share` of the unchanged pixels whose label changed, over all pairs of frames, and how much was unchanged."""

    share: float
    still_share: float
    pairs: int


class FlickerMeter:
    """Adds up flicker over frames in order; several label maps of one frame are measured on the same pixels."""

    def __init__(self, *, motion: bool = False, grey_step: int = GREY_STEP, maps: int = 1) -> None:
        self._motion = motion
        self._grey_step = grey_step
        self._changed = [0] * maps
        self._still = self._pixels = self._pairs = 0
        self._before: tuple[np.ndarray, tuple[np.ndarray, ...]] | None = None

    def update(self, image: np.ndarray, *labels: np.ndarray) -> None:
        """Take a frame (H, W, 3) BGR uint8 and its label maps (H, W); it starts again where the size changes."""
        import cv2

        # Sensor noise and blocks of video coding are no change of the scene.
        grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), (3, 3), 0)
        if self._before is not None and self._before[0].shape == grey.shape:
            self._compare(grey, labels, *self._before)
        self._before = grey, labels

    def results(self) -> tuple[Flicker, ...]:
        """Return the figures, one for each label map; shares are 0 before there is an unchanged pixel."""
        still_share = self._still / self._pixels if self._pixels else 0.0
        return tuple(
            Flicker(share=changed / max(1, self._still), still_share=still_share, pairs=self._pairs)
            for changed in self._changed
        )

    def _compare(
        self,
        grey: np.ndarray,
        labels: tuple[np.ndarray, ...],
        grey_before: np.ndarray,
        labels_before: tuple[np.ndarray, ...],
    ) -> None:
        import cv2

        if self._motion:
            paths = _paths(grey, grey_before)
            # 255 outside cannot be distinguished from white: a mask of its own marks what came from beyond the border.
            seen = cv2.remap(np.full_like(grey, 255), *paths, cv2.INTER_NEAREST)
            grey_before = cv2.remap(grey_before, *paths, cv2.INTER_LINEAR)
            labels_before = tuple(cv2.remap(one, *paths, cv2.INTER_NEAREST) for one in labels_before)
            still = (cv2.absdiff(grey, grey_before) <= self._grey_step) & (seen > 0)
        else:
            still = cv2.absdiff(grey, grey_before) <= self._grey_step
        self._pairs += 1
        self._pixels += still.size
        self._still += int(np.count_nonzero(still))
        for index, (now, before) in enumerate(zip(labels, labels_before, strict=True)):
            self._changed[index] += int(np.count_nonzero((now != before) & still))


class FlickerMetric:
    """`flicker`, of the frames of a video in order; the truth is not read."""

    need: Need = "frames"

    def __init__(self, _classes: tuple[str, ...], /, *, ignore_index: int) -> None:
        self._meter = FlickerMeter()

    def update(self, prediction: Prediction, _truth: NDArray[np.uint8], /) -> None:
        """Add a frame; a prediction without its image counts for nothing."""
        if prediction.image is not None:
            self._meter.update(prediction.image, prediction.labels)

    def compute(self) -> dict[str, MetricValue]:
        """Return `flicker`; its value is None before there are two frames."""
        found = self._meter.results()[0]
        return {"flicker": MetricValue(value=found.share if found.pairs else None, better="lower")}


def flicker(frames: Iterable[tuple[np.ndarray, np.ndarray]], *, motion: bool = False) -> Flicker:
    """Return the flicker of (image, labels) pairs in order; with `motion`, along optical flow."""
    meter = FlickerMeter(motion=motion)
    for image, labels in frames:
        meter.update(image, labels)
    return meter.results()[0]


def _paths(grey: np.ndarray, grey_before: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (x, y), float32 (H, W): where each pixel was in the frame before."""
    import cv2

    height, width = grey.shape
    start = np.zeros((height, width, 2), np.float32)
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST).calc(grey, grey_before, start)
    x = flow[..., 0] + np.arange(width, dtype=np.float32)
    y = flow[..., 1] + np.arange(height, dtype=np.float32)[:, None]
    return x, y
