"""How closely one net's output follows another's, without ground truth: labels, classes, boundaries and logits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGEST_SQNR_DB = 200.0
"""Reported for bit-exact outputs, whose ratio would be infinite."""


class LabelAgreement:
    """Counts of (wanted class, given class), added up image by image, and the same near the wanted boundaries.

    >>> met = LabelAgreement(2)
    >>> met.update(np.array([[0, 0]], np.uint8), np.array([[0, 1]], np.uint8))
    0.5
    >>> met.per_class(), met.boundary
    ((1.0, 0.0), 0.5)
    """

    def __init__(self, classes: int, *, band: int = 1) -> None:
        self.classes = classes
        self.band = band
        self.counts = np.zeros((classes, classes), np.int64)
        self._near = np.zeros(2, np.int64)

    def update(
        self, given: NDArray[np.integer], wanted: NDArray[np.integer], *, only: NDArray[np.bool_] | None = None
    ) -> float:
        """Add one image's class ids (H, W), of the pixels in `only` if given; return the share of them that agree."""
        counted = np.ones(wanted.shape, bool) if only is None else only
        pairs = wanted[counted].astype(np.int64) * self.classes + given[counted].astype(np.int64)
        self.counts += np.bincount(pairs, minlength=self.classes**2).reshape(self.classes, self.classes)
        equal = given == wanted
        near = boundary_band(wanted, radius=self.band) & counted
        self._near += (int(equal[near].sum()), int(near.sum()))
        return float(equal[counted].mean()) if counted.any() else 1.0

    @property
    def overall(self) -> float:
        """The share of all pixels that agree."""
        return float(np.trace(self.counts) / max(1, self.counts.sum()))

    @property
    def boundary(self) -> float | None:
        """The share of pixels near a wanted boundary that agree; None without boundaries."""
        return float(self._near[0] / self._near[1]) if self._near[1] else None

    @property
    def pixels(self) -> NDArray[np.int64]:
        """Pixels of each wanted class, (C,)."""
        result: NDArray[np.int64] = self.counts.sum(axis=1)
        return result

    def per_class(self) -> tuple[float | None, ...]:
        """Return the share of each wanted class's pixels that agree; None for a class that is never wanted."""
        return tuple(
            float(hits / total) if total else None
            for hits, total in zip(np.diag(self.counts), self.pixels, strict=True)
        )


class LogitAgreement:
    """Power of the wanted logits and of the error, and the displacement between the two, added up image by image.

    Each pixel's mean over the classes is taken out first: no label depends on it. The displacement is the shift
    (dy, dx) that explains most of the error, by least squares on the wanted logits' gradient (Lucas, Kanade: An
    Iterative Image Registration Technique, IJCAI 1981). Rounding is not correlated with that gradient, so even a shift
    of a fraction of a cell stands out.
    """

    def __init__(self) -> None:
        self._power = self._error = 0.0
        self.max_abs_error = 0.0
        self._normal = np.zeros((2, 2))
        self._right = np.zeros(2)

    def update(self, given: NDArray[np.floating], wanted: NDArray[np.floating]) -> float:
        """Add one image's logits (h, w, C), and return its own SQNR in dB."""
        self.max_abs_error = max(self.max_abs_error, float(np.abs(given - wanted).max()))
        centred = _centred(wanted)
        error = _centred(given) - centred
        own_error, own_power = float(np.square(error).sum()), float(np.square(centred).sum())
        self._error += own_error
        self._power += own_power
        if min(centred.shape[:2]) > 1:
            down, right = np.gradient(centred, axis=(0, 1))
            gradient = np.stack([down.reshape(-1), right.reshape(-1)])
            self._normal += gradient @ gradient.T
            self._right -= gradient @ error.reshape(-1)
        return decibel(own_power, own_error)

    @property
    def sqnr_db(self) -> float:
        """Ratio of signal to error in dB, at most `LARGEST_SQNR_DB`."""
        return decibel(self._power, self._error)

    @property
    def displacement(self) -> float:
        """Length in cells of the shift between the two; 0.0 where the wanted logits are flat."""
        if np.linalg.cond(self._normal) > 1e9:
            return 0.0
        return float(np.hypot(*np.linalg.solve(self._normal, self._right)))


def boundary_band(labels: NDArray[np.integer], *, radius: int) -> NDArray[np.bool_]:
    """Return where a pixel of another class lies at most `radius` rows and columns away, (H, W) bool."""
    import cv2

    plain = labels.astype(np.uint8)
    square = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    return np.asarray(cv2.dilate(plain, square) != cv2.erode(plain, square))


def decibel(power: float, error: float) -> float:
    """Return the ratio of a signal's power to that of its error in dB, at most `LARGEST_SQNR_DB`."""
    if error == 0.0:
        return LARGEST_SQNR_DB
    return min(LARGEST_SQNR_DB, 10.0 * math.log10(max(power, 1e-300) / error))


def _centred(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    values = logits.astype(np.float64)
    centred: NDArray[np.float64] = values - values.mean(axis=-1, keepdims=True) if values.shape[-1] > 1 else values
    return centred
