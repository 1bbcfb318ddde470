"""The raw times of a run as text in its record, and the percentiles computed from them."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import math
import zlib
from typing import TYPE_CHECKING

import numpy as np

from edgeseg.bench.intervals import intervals
from edgeseg.core.measurement import LEAST_RUNS_FOR_P99, RawSamples, StageLatency
from edgeseg.errors import RecipeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeseg.core.measurement import Measurement

STAGES = ("preprocess", "infer", "decode", "total")
"""Timed stages; the last one is the sum of the others."""
TICK_MS = 1e-4
_PERCENTILES = (50.0, 90.0, 99.0)
_TOLERANCE_MS = 2e-4
"""Percentiles are written to a ten-thousandth of a millisecond."""


def pack_samples(times_ns: NDArray[np.int64]) -> RawSamples:
    """Return the samples of a run: `times_ns` is (runs, 3) nanoseconds of preprocess, infer and decode."""
    ticks = np.clip(np.rint(times_ns / 100), 0, 2**32 - 1).astype("<u4")
    packed = base64.b64encode(zlib.compress(ticks.tobytes(), 9)).decode("ascii")
    return RawSamples(stages=STAGES[:-1], runs=len(ticks), data=packed)


def unpack_samples(samples: RawSamples) -> NDArray[np.float64]:
    """Return (runs, stages) milliseconds.

    Raises:
        RecipeError: data that is damaged or not of that many runs.
    """
    size = samples.runs * len(samples.stages) * 4
    try:
        inflate = zlib.decompressobj()
        # Never more than announced: a few kB can inflate to gigabytes.
        content = inflate.decompress(base64.b64decode(samples.data, validate=True), size + 1)
    except (binascii.Error, ValueError, zlib.error):
        raise RecipeError("samples.data is damaged: not zlib data in base64.") from None
    if len(content) != size:
        raise RecipeError(
            f"samples.data: does not hold {samples.runs} runs of {len(samples.stages)} stages; measure again."
        )
    ticks = np.frombuffer(content, "<u4").reshape(samples.runs, len(samples.stages))
    return ticks.astype(np.float64) * TICK_MS


def latency_of(samples: RawSamples) -> tuple[StageLatency, ...]:
    """Return the percentiles of each stage and of their sum, with intervals; raises as `unpack_samples` does."""
    columns = _columns(samples)
    return tuple(_with_intervals(summarise(stage, times_ms), times_ms) for stage, times_ms in columns.items())


def _columns(samples: RawSamples) -> dict[str, NDArray[np.float64]]:
    times_ms = unpack_samples(samples)
    stages = dict(zip(samples.stages, times_ms.T, strict=True))
    return {**stages, STAGES[-1]: times_ms.sum(axis=1)}


def _with_intervals(item: StageLatency, times_ms: NDArray[np.float64]) -> StageLatency:
    """Return the percentiles with their 95 % intervals, none for a p99 of too few runs."""
    found = intervals(times_ms, _PERCENTILES)
    if found is None:
        return item
    p50, p90, p99 = ((math.floor(low * 1e4) / 1e4, math.ceil(high * 1e4) / 1e4) for low, high in found)
    return dataclasses.replace(
        item, p50_interval_ms=p50, p90_interval_ms=p90, p99_interval_ms=None if item.p99_ms is None else p99
    )


def summarise(stage: str, times_ms: NDArray[np.float64]) -> StageLatency:
    """Return the percentiles of a stage's times, (runs,) milliseconds; linear between neighbouring runs."""
    p50, p90, p99 = (round(float(value), 4) for value in np.percentile(times_ms, _PERCENTILES))
    return StageLatency(
        stage=stage,
        runs=len(times_ms),
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99 if len(times_ms) >= LEAST_RUNS_FOR_P99 else None,
        mean_ms=round(float(times_ms.mean()), 4),
        min_ms=round(float(times_ms.min()), 4),
    )


def check_samples(measurement: Measurement) -> None:
    """Check that the percentiles follow from the raw samples, if there are any.

    Raises:
        RecipeError: a figure that does not follow from the samples, by name.
    """
    if measurement.samples is None:
        return
    expected = {stage: summarise(stage, times_ms) for stage, times_ms in _columns(measurement.samples).items()}
    given = {item.stage: item for item in measurement.latency}
    if set(expected) != set(given):
        raise RecipeError(f"latency: has the stages {', '.join(given)}; the samples are of {', '.join(expected)}.")
    for stage, item in given.items():
        for name in ("runs", "p50_ms", "p90_ms", "p99_ms", "mean_ms", "min_ms"):
            ours, theirs = getattr(item, name), getattr(expected[stage], name)
            if (ours is None) != (theirs is None) or (ours is not None and abs(ours - theirs) > _TOLERANCE_MS):
                raise RecipeError(f"latency.{stage}.{name} is {ours}; the samples give {theirs}.")
