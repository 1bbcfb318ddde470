"""Intervals of percentiles by a bootstrap over blocks of runs.

Neighbouring runs are alike (clock, heat, other load), so single runs must not be drawn: the moving-block bootstrap
(Künsch, The Jackknife and the Bootstrap for General Stationary Observations, 1989) draws stretches of a tenth of all.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_RESAMPLES = 400
_FEW_RESAMPLES = 100
_MANY_RUNS = 20_000
_MOST_AT_ONCE = 4_000_000
CONFIDENCE = 0.95
BOOTSTRAP_BLOCKS = 10
LEAST_RUNS_FOR_INTERVAL = 20
"""With fewer runs a block of a tenth would be a single run."""


def intervals(
    times_ms: NDArray[np.float64], percentiles: tuple[float, ...], *, seed: int = 0
) -> tuple[tuple[float, float], ...] | None:
    """Return (low, high) of each percentile of `times_ms`, (runs,) in the order they were taken; None for too few."""
    if len(times_ms) < LEAST_RUNS_FOR_INTERVAL:
        return None
    drawn = bootstrap_percentiles(times_ms, percentiles, seed=seed)
    own = np.percentile(times_ms, percentiles)
    return tuple(bounds_of(drawn[:, index], around=float(value)) for index, value in enumerate(own))


def bounds_of(drawn: NDArray[np.float64], *, around: float) -> tuple[float, float]:
    """Return the bounds that hold a resampled value with 95 % confidence, widened to include `around`."""
    tail = 50 * (1 - CONFIDENCE)
    low, high = (float(value) for value in np.percentile(drawn, [tail, 100 - tail]))
    return min(low, around), max(high, around)


def bootstrap_percentiles(
    times_ms: NDArray[np.float64], percentiles: tuple[float, ...], *, seed: int
) -> NDArray[np.float64]:
    """Return (resamples, percentiles) of blocks of a tenth of the runs, each from a random start.

    Equal seeds draw the same blocks of series of equal length.
    """
    runs = len(times_ms)
    length = math.ceil(runs / BOOTSTRAP_BLOCKS)
    count = _RESAMPLES if runs <= _MANY_RUNS else _FEW_RESAMPLES
    starts = np.random.default_rng(seed).integers(0, runs - length + 1, (count, math.ceil(runs / length)))
    steps = np.arange(length)
    rows = max(1, _MOST_AT_ONCE // runs)
    parts = []
    for first in range(0, count, rows):
        chosen = (starts[first : first + rows, :, None] + steps).reshape(-1, starts.shape[1] * length)[:, :runs]
        parts.append(_percentiles(np.sort(times_ms[chosen], axis=1), percentiles))
    return np.concatenate(parts)


def _percentiles(ordered: NDArray[np.float64], percentiles: tuple[float, ...]) -> NDArray[np.float64]:
    """Return (rows, percentiles) of sorted rows, linear between neighbours, as `np.percentile` but without its cost."""
    places = np.array(percentiles) / 100 * (ordered.shape[1] - 1)
    below = np.floor(places).astype(np.int64)
    above = np.minimum(below + 1, ordered.shape[1] - 1)
    lower, upper = ordered[:, below], ordered[:, above]
    return np.asarray(lower + (upper - lower) * (places - below))
