"""Verdicts on medians: the change between two measurements, and whether one is stable enough for a conclusion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from edgeseg.bench.intervals import LEAST_RUNS_FOR_INTERVAL, bootstrap_percentiles, bounds_of
from edgeseg.bench.samples import unpack_samples

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeseg.core.measurement import Measurement

EQUAL_WITHIN = 0.05
"""Separate runs of one artifact differ by up to this much on an otherwise idle machine, whatever their intervals."""
INTERLEAVED_WITHIN = 0.01
STABLE_WITHIN = 0.02
DRIFT_WITHIN = 0.05

Verdict = Literal["equal", "faster", "slower", "unclear"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyChange:
    """The change of the p50 of the total against a baseline: 0.1 is 10 % slower; `low` and `high` bound it (95 %).

    `verdict` is "slower" or "faster" if the whole interval lies beyond `margin`, "equal" if it lies within
    `EQUAL_WITHIN`, and "unclear" if it does neither: measure longer, or on a quieter machine.
    """

    change: float
    low: float
    high: float
    margin: float
    verdict: Verdict


def latency_change(item: Measurement, baseline: Measurement) -> LatencyChange | None:
    """Return the change of the median total against `baseline`; None where one of them has too few raw samples.

    Runs of one command took turns, so the same rounds are drawn of both, and load that hit both cancels out: the margin
    is `INTERLEAVED_WITHIN`. Runs of different commands count as different only beyond `EQUAL_WITHIN`.
    """
    if item.samples is None or baseline.samples is None:
        return None
    ours, theirs = (unpack_samples(samples).sum(axis=1) for samples in (item.samples, baseline.samples))
    if min(len(ours), len(theirs)) < LEAST_RUNS_FOR_INTERVAL or not np.median(theirs):
        return None
    interleaved = (
        item.method is not None and baseline.method is not None and (item.method.session == baseline.method.session)
    )
    paired = interleaved and len(ours) == len(theirs)
    mine = bootstrap_percentiles(ours, (50.0,), seed=0)[:, 0]
    other = bootstrap_percentiles(theirs, (50.0,), seed=0 if paired else 1)[:, 0]
    both = min(len(mine), len(other))
    drawn = mine[:both] / other[:both] - 1
    change = float(np.median(ours) / np.median(theirs) - 1)
    low, high = bounds_of(drawn, around=change)
    margin = INTERLEAVED_WITHIN if interleaved else EQUAL_WITHIN
    return LatencyChange(change=change, low=low, high=high, margin=margin, verdict=_verdict(low, high, margin=margin))


def _verdict(low: float, high: float, *, margin: float) -> Verdict:
    if low > margin:
        return "slower"
    if high < -margin:
        return "faster"
    return "equal" if low >= -EQUAL_WITHIN and high <= EQUAL_WITHIN else "unclear"


def instability(measurement: Measurement) -> str:
    """Return why the median of a measurement forbids a conclusion, "" if it is stable."""
    total = measurement.stage("total")
    if total is None or measurement.samples is None:
        return ""
    if total.p50_interval_ms is None:
        return f"{total.runs} runs are too few to judge, {LEAST_RUNS_FOR_INTERVAL} required"
    low, high = total.p50_interval_ms
    width = (high - low) / 2 / total.p50_ms if total.p50_ms else 0.0
    if width > STABLE_WITHIN:
        return f"the median is uncertain by ± {100 * width:.1f} %, at most {100 * STABLE_WITHIN:g} % allowed"
    change = drift(unpack_samples(measurement.samples).sum(axis=1))
    if abs(change) > DRIFT_WITHIN:
        return f"the median drifted by {100 * change:+.1f} % during the runs, at most {100 * DRIFT_WITHIN:g} % allowed"
    return ""


def drift(times_ms: NDArray[np.float64]) -> float:
    """Return the median of the last third over that of the first third, minus 1."""
    third = max(1, len(times_ms) // 3)
    first, last = float(np.median(times_ms[:third])), float(np.median(times_ms[-third:]))
    return last / first - 1 if first else 0.0
