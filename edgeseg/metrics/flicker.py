"""Flicker: the share of pixels whose label changes between two frames although the image does not.

A pixel counts as unchanged if its grey level differs by at most a threshold. For a moving camera, frames are compared
along dense optical flow (DIS: Kroeger et al., ECCV 2016; OpenCV's implementation), which is slow and meant for files.
Lai et al., ECCV 2018, measure the temporal consistency of video along flow in the same way.
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
"""Threshold in grey levels (of 255) for changes from noise and video coding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flicker:
    """The `share` of unchanged pixels whose label changed, over all pairs of frames, and how many were unchanged."""

    share: float
    still_share: float
    pairs: int


class FlickerMeter:
    """Accumulates flicker over frames in order; several label maps of a frame are measured on the same pixels."""

    def __init__(self, *, motion: bool = False, grey_step: int = GREY_STEP, maps: int = 1) -> None:
        self._motion = motion
        self._grey_step = grey_step
        self._changed = [0] * maps
        self._still = self._pixels = self._pairs = 0
        self._before: tuple[NDArray[np.uint8], tuple[NDArray[np.uint8], ...]] | None = None

    def update(self, image: NDArray[np.uint8], *labels: NDArray[np.uint8]) -> None:
        """Add a frame (H, W, 3) BGR uint8 with its label maps (H, W); a new size starts a new sequence."""
        import cv2

        # Sensor noise and blocking artefacts of video coding are not changes of the scene.
        grey = np.asarray(cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), (3, 3), 0), np.uint8)
        if self._before is not None and self._before[0].shape == grey.shape:
            self._compare(grey, labels, *self._before)
        self._before = grey, labels

    def results(self) -> tuple[Flicker, ...]:
        """Return the flicker of each label map; shares are 0 before the first unchanged pixel."""
        still_share = self._still / self._pixels if self._pixels else 0.0
        return tuple(
            Flicker(share=changed / max(1, self._still), still_share=still_share, pairs=self._pairs)
            for changed in self._changed
        )

    def _compare(
        self,
        grey: NDArray[np.uint8],
        labels: tuple[NDArray[np.uint8], ...],
        grey_before: NDArray[np.uint8],
        labels_before: tuple[NDArray[np.uint8], ...],
    ) -> None:
        import cv2

        if self._motion:
            paths = _paths(grey, grey_before)
            # A fill value of 255 could not be told from white, so a separate mask marks pixels from outside the frame.
            seen = cv2.remap(np.full_like(grey, 255), *paths, cv2.INTER_NEAREST)
            grey_before = np.asarray(cv2.remap(grey_before, *paths, cv2.INTER_LINEAR), np.uint8)
            labels_before = tuple(
                np.asarray(cv2.remap(one, *paths, cv2.INTER_NEAREST), np.uint8) for one in labels_before
            )
            still = (cv2.absdiff(grey, grey_before) <= self._grey_step) & (seen > 0)
        else:
            still = cv2.absdiff(grey, grey_before) <= self._grey_step
        self._pairs += 1
        self._pixels += still.size
        self._still += int(np.count_nonzero(still))
        for index, (now, before) in enumerate(zip(labels, labels_before, strict=True)):
            self._changed[index] += int(np.count_nonzero((now != before) & still))


class FlickerMetric:
    """`flicker` of the frames of a video, in order; it needs no ground truth."""

    need: Need = "frames"

    def __init__(self, _classes: tuple[str, ...], /, *, ignore_index: int) -> None:
        self._meter = FlickerMeter()

    def update(self, prediction: Prediction, _truth: NDArray[np.uint8], /) -> None:
        """Add a frame; a prediction without an image is ignored."""
        if prediction.image is not None:
            self._meter.update(prediction.image, prediction.labels)

    def compute(self) -> dict[str, MetricValue]:
        """Return `flicker`; its value is None before the second frame."""
        found = self._meter.results()[0]
        return {"flicker": MetricValue(value=found.share if found.pairs else None, better="lower")}


def flicker(frames: Iterable[tuple[NDArray[np.uint8], NDArray[np.uint8]]], *, motion: bool = False) -> Flicker:
    """Return the flicker of (image, labels) pairs in order; with `motion`, along optical flow.

    Images are (H, W, 3) BGR uint8, labels (H, W) uint8.
    """
    meter = FlickerMeter(motion=motion)
    for image, labels in frames:
        meter.update(image, labels)
    return meter.results()[0]


def _paths(grey: NDArray[np.uint8], grey_before: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return (x, y), float32 (H, W): the position of each pixel in the previous frame."""
    import cv2

    height, width = grey.shape
    start = np.zeros((height, width, 2), np.float32)
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST).calc(grey, grey_before, start)
    x = flow[..., 0] + np.arange(width, dtype=np.float32)
    y = flow[..., 1] + np.arange(height, dtype=np.float32)[:, None]
    return np.asarray(x, np.float32), np.asarray(y, np.float32)
