"""Accumulates the statistics of images, and says how far two sets of images are apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeseg.core.input_statistics import InputStatistics
from edgeseg.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BINS = 32


class StatisticsMeter:
    """Accumulates the statistics of images (H, W, 3) BGR uint8; each image has the same weight, at any size."""

    def __init__(self) -> None:
        self._levels = np.zeros((3, 256))
        self._images = 0

    def update(self, image: NDArray[np.uint8]) -> None:
        """Add an image (H, W, 3) BGR uint8."""
        import cv2

        counts = [cv2.calcHist([image], [channel], None, [256], [0, 256]).reshape(-1) for channel in range(3)]
        self._levels += np.stack(counts) / (image.shape[0] * image.shape[1])
        self._images += 1

    def result(self) -> InputStatistics:
        """Return the statistics, rounded to six digits; raises `InputError` before the first image."""
        if not self._images:
            raise InputError("No image was added, so there are no statistics.")
        shares, levels = self._levels / self._images, np.arange(256) / 255
        mean = shares @ levels
        std = np.sqrt(np.maximum(shares @ levels**2 - mean**2, 0))
        histogram = shares.reshape(3, _BINS, -1).sum(axis=2)
        return InputStatistics(
            mean=tuple(mean.round(6).tolist()),
            std=tuple(std.round(6).tolist()),
            histogram=tuple(tuple(channel) for channel in histogram.round(6).tolist()),
            images=self._images,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """How far images are from a reference, for the worst channel.

    `mean_shift` is in the reference's standard deviations, `std_ratio` the ratio of the two standard deviations, and
    `histogram_distance` the earth mover's distance as a share of the full scale, 0 to 1.
    """

    mean_shift: float
    std_ratio: float
    histogram_distance: float


def drift_of(seen: InputStatistics, reference: InputStatistics) -> Drift:
    """Return how far the images `seen` are from the reference's."""
    scale = np.maximum(reference.std, 1e-3)
    ratio = np.maximum(seen.std, 1e-3) / scale
    apart = np.cumsum(np.array(seen.histogram) - np.array(reference.histogram), axis=1)
    return Drift(
        mean_shift=float((np.abs(np.array(seen.mean) - reference.mean) / scale).max()),
        std_ratio=float(ratio[np.abs(np.log(ratio)).argmax()]),
        histogram_distance=float(np.abs(apart).mean(axis=1).max()),
    )
