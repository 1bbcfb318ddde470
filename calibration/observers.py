"""Range observers: how the int8 range of a point is chosen from a histogram of its values.

Each is registered under `edgeseg.observers` and named by `edgeseg calibrate --observer`. A range always holds zero,
which int8 stores exactly, and never exceeds the lowest and the highest value.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

BINS = 2_048
STEPS = 256
SHRINKS = np.geomspace(1.0, 0.02, 100)
SQUARED, ABSOLUTE = 2, 1

Ends = tuple[float, float]
"""The (low, high) of a range."""


@dataclass(slots=True, kw_only=True)
class ValueHistogram:
    """Counts (2048,) of a tensor's values in bins of equal width between `low` and `high`, which span zero."""

    low: float = 0.0
    high: float = 0.0
    counts: NDArray[np.float64] = field(default_factory=lambda: np.zeros(BINS))

    @property
    def centres(self) -> NDArray[np.float64]:
        """The middle of each bin, (2048,)."""
        return self.low + (np.arange(BINS) + 0.5) * (self.high - self.low) / BINS


@runtime_checkable
class RangeObserver(Protocol):
    """Chooses the range of one point."""

    @property
    def summary(self) -> str:
        """What it does, in one line."""
        ...

    def range_of(self, seen: ValueHistogram, /) -> Ends:
        """Return the (low, high) for the values that were seen."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class MinMax:
    """The lowest and the highest value: nothing is clipped, and one outlier makes all steps coarse."""

    summary: str = "the lowest and the highest value"

    def range_of(self, seen: ValueHistogram) -> Ends:
        """Return the lowest and the highest value."""
        return seen.low, seen.high


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentile:
    """The range of a share of all values: as many are clipped at each end as reach beyond it."""

    share: float = 0.9999
    summary: str = "99.99 % of the values"

    def range_of(self, seen: ValueHistogram) -> Ends:
        """Return the narrowest bins between which `share` of the values lie, half of the others at each end."""
        total = float(seen.counts.sum())
        if total <= 0.0:
            return seen.low, seen.high
        below = np.cumsum(seen.counts) / total
        tail = (1.0 - self.share) / 2
        width = (seen.high - seen.low) / BINS
        # A tolerance of rounding: sums of shares end at 0.99999999, not at 1.
        first = int(np.searchsorted(below, tail + 1e-12, side="right"))
        last = int(np.searchsorted(below, 1.0 - tail - 1e-12, side="left"))
        return min(0.0, seen.low + first * width), max(0.0, seen.low + (min(last, BINS - 1) + 1) * width)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeastError:
    """The range with the least expected rounding and clipping error, to a power (Nagel et al., 2021, section 3.1)."""

    power: int = SQUARED
    summary: str = "the least expected squared error (MSE)"

    def range_of(self, seen: ValueHistogram) -> Ends:
        """Return the (low, high) with the least error in 256 steps."""
        return _searched(seen, loss=lambda low, high: _error(seen, low, high, power=self.power))


@dataclass(frozen=True, slots=True, kw_only=True)
class Entropy:
    """The range whose 256 steps keep most of the distribution: the least Kullback-Leibler divergence.

    As in TensorRT (Migacz, "8-bit Inference with TensorRT", GTC 2017), with both ends searched.
    """

    summary: str = "the least Kullback-Leibler divergence (entropy)"

    def range_of(self, seen: ValueHistogram) -> Ends:
        """Return the (low, high) with the least divergence of the stored from the original distribution."""
        return _searched(seen, loss=lambda low, high: divergence(seen, low, high))


MIN_MAX, PERCENTILE, MSE, ENTROPY = MinMax(), Percentile(), LeastError(), Entropy()


def least_error_range(seen: ValueHistogram, *, power: int = SQUARED) -> Ends:
    """Return the (low, high) with the least expected error, to the given power, in 256 steps, zero among them."""
    return LeastError(power=power).range_of(seen)


def divergence(seen: ValueHistogram, low: float, high: float) -> float:
    """Return the Kullback-Leibler divergence, in nats, of 256 steps from `low` to `high` from the values.

    What is clipped counts in the outermost bins of the original, and not in what is stored: clipping costs as much as
    it distorts. Within one step, what is stored is spread evenly over the bins that hold values.
    """
    total = float(seen.counts.sum())
    if high <= low or total <= 0.0:
        return float("inf") if high <= low else 0.0
    centres = seen.centres
    inside = (centres >= low) & (centres <= high)
    held = np.where(inside, seen.counts, 0.0)
    if not inside.any() or held.sum() <= 0.0:
        return float("inf")
    wanted = held.copy()
    first, last = np.flatnonzero(inside)[[0, -1]]
    wanted[first] += seen.counts[:first].sum()
    wanted[last] += seen.counts[last + 1 :].sum()
    step = np.clip(np.rint((centres - low) / (high - low) * (STEPS - 1)), 0, STEPS - 1).astype(int)
    filled = wanted > 0.0
    mass = np.bincount(step[inside], weights=held[inside], minlength=STEPS)
    bins = np.bincount(step[filled & inside], minlength=STEPS)
    given = np.where(filled & inside, mass[step] / np.maximum(bins[step], 1), 0.0)
    # A bin that only clipped values reach would cost infinitely much: it counts as a ten-thousandth of one value.
    wanted, given = wanted[filled] / total, np.maximum(given[filled], 1e-4) / held.sum()
    return float(wanted @ np.log(wanted / given))


def _searched(seen: ValueHistogram, *, loss: Callable[[float, float], float]) -> Ends:
    """Return the (low, high) of the least loss: both ends shrunk together first, then each alone."""
    best = min(SHRINKS, key=lambda shrink: loss(shrink * seen.low, shrink * seen.high))
    low, high = best * seen.low, best * seen.high
    if low < 0.0:
        low = min(SHRINKS * seen.low, key=lambda candidate: loss(candidate, high))
    if high > 0.0:
        high = min(SHRINKS * seen.high, key=lambda candidate: loss(low, candidate))
    return float(low), float(high)


def _error(seen: ValueHistogram, low: float, high: float, *, power: int) -> float:
    if high <= low:
        return float("inf")
    scale = (high - low) / (STEPS - 1)
    zero = np.rint(-low / scale)
    stored = np.clip(np.rint(seen.centres / scale) + zero, 0, STEPS - 1)
    return float(seen.counts @ np.abs((stored - zero) * scale - seen.centres) ** power)
