"""Times of the loop's stages, and its rate, over as many frames as it may run."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

STAGES = ("capture", "preprocess", "infer", "decode", "draw", "sink")
KEPT = 20_000
"""Times kept a stage: a loop may run for weeks."""
RECENT = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class StageTimes:
    """Percentiles of one stage in milliseconds."""

    p50_ms: float
    p90_ms: float
    p99_ms: float


class Clock:
    """Collects times; each stage is written by one thread only."""

    def __init__(self) -> None:
        self._times_ms: dict[str, deque[float]] = {stage: deque(maxlen=KEPT) for stage in (*STAGES, "age")}
        self._recent_s: deque[float] = deque(maxlen=RECENT + 1)
        self._first_s = 0.0
        self._started_s = time.perf_counter()
        self.frames = 0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block as one run of a stage."""
        start_s = time.perf_counter()
        yield
        self._times_ms[name].append(1000 * (time.perf_counter() - start_s))

    def done(self, *, captured_s: float) -> None:
        """Count a frame that came out at the end just now."""
        now_s = time.perf_counter()
        self._times_ms["age"].append(1000 * (time.monotonic() - captured_s))
        self._recent_s.append(now_s)
        self._first_s = self._first_s or now_s
        self.frames += 1

    def last_ms(self, stage: str) -> float:
        """Return the newest time of a stage, 0 before there is one."""
        times_ms = self._times_ms[stage]
        return times_ms[-1] if times_ms else 0.0

    def recent_fps(self) -> float:
        """Return the rate over the last 30 frames, 0 before there are two."""
        span_s = self._recent_s[-1] - self._recent_s[0] if len(self._recent_s) > 1 else 0.0
        return (len(self._recent_s) - 1) / span_s if span_s > 0 else 0.0

    def fps(self) -> float:
        """Return the rate from the first finished frame to the last; of a single one, what it took."""
        if self.frames == 0:
            return 0.0
        if self.frames == 1:
            return 1 / max(self._first_s - self._started_s, 1e-9)
        return (self.frames - 1) / max(self._recent_s[-1] - self._first_s, 1e-9)

    def percentiles(self) -> dict[str, StageTimes]:
        """Return the percentiles of each stage that ran."""
        found = {}
        for stage in STAGES:
            if self._times_ms[stage]:
                p50, p90, p99 = (float(value) for value in np.percentile(self._times_ms[stage], (50, 90, 99)))
                found[stage] = StageTimes(p50_ms=p50, p90_ms=p90, p99_ms=p99)
        return found

    def age_ms(self) -> tuple[float, float]:
        """Return the p50 and p90 of a frame's age when its result was out."""
        if not self._times_ms["age"]:
            return 0.0, 0.0
        p50, p90 = np.percentile(self._times_ms["age"], (50, 90))
        return float(p50), float(p90)
