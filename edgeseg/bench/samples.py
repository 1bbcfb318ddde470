"""The raw times of a run as text in its record, and the percentiles computed from them."""

from __future__ import annotations

import base64
import binascii
import zlib
from typing import TYPE_CHECKING

import numpy as np

from edgeseg.core.measurement import LEAST_RUNS_FOR_P99, RawSamples, StageLatency
from edgeseg.errors import RecipeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeseg.core.measurement import Measurement

STAGES = ("preprocess", "infer", "decode", "total")
"""Timed stages; the last one is the sum of the others."""
TICK_MS = 1e-4
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
    """Return the percentiles of each stage and of their sum; raises as `unpack_samples` does."""
    times_ms = unpack_samples(samples)
    columns = np.column_stack([times_ms, times_ms.sum(axis=1)])
    return tuple(summarise(stage, columns[:, index]) for index, stage in enumerate((*samples.stages, STAGES[-1])))


def summarise(stage: str, times_ms: NDArray[np.float64]) -> StageLatency:
    """Return the percentiles of a stage's times, (runs,) milliseconds; linear between neighbouring runs."""
    p50, p90, p99 = (round(float(value), 4) for value in np.percentile(times_ms, [50, 90, 99]))
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
    expected = {item.stage: item for item in latency_of(measurement.samples)}
    given = {item.stage: item for item in measurement.latency}
    if set(expected) != set(given):
        raise RecipeError(f"latency: has the stages {', '.join(given)}; the samples are of {', '.join(expected)}.")
    for stage, item in given.items():
        for name in ("runs", "p50_ms", "p90_ms", "p99_ms", "mean_ms", "min_ms"):
            ours, theirs = getattr(item, name), getattr(expected[stage], name)
            if (ours is None) != (theirs is None) or (ours is not None and abs(ours - theirs) > _TOLERANCE_MS):
                raise RecipeError(f"latency.{stage}.{name} is {ours}; the samples give {theirs}.")
