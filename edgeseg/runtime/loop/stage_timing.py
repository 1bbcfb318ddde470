"""Times of the loop's stages, and its rate, over any number of frames."""

from __future__ import annotations

import time
from array import array
from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from edgeseg.runtime.sinks.hud import StageTimes

if TYPE_CHECKING:
    from types import TracebackType

_STAGES = ("capture", "preprocess", "infer", "decode", "draw", "sink")
THREADS = (("capture",), ("preprocess",), ("infer",), ("decode", "draw"), ("sink",))
"""Stages that one thread runs in turn; the threads run in parallel."""
KEPT = 20_000
"""Times kept per stage: a loop may run for weeks."""
RECENT = 30
SHOWN_TIMES, SHOWN_FOR_S = 200, 0.5
"""Shown while the loop runs: percentiles over this many newest times, each for long enough to read."""


class RecentTimes:
    """The newest `KEPT` times in milliseconds, by one writer, in memory allocated at the start.

    As objects they would take four times the memory and fragment the heap.
    """

    __slots__ = ("_count", "_values")

    def __init__(self) -> None:
        self._values = array("d", bytes(8 * KEPT))
        self._count = 0

    def __len__(self) -> int:
        return min(self._count, KEPT)

    def append(self, time_ms: float) -> None:
        """Add a time; it replaces the oldest when full."""
        self._values[self._count % KEPT] = time_ms
        self._count += 1

    def last(self) -> float:
        """Return the newest time, 0 if there is none."""
        return self._values[(self._count - 1) % KEPT]

    def percentiles(self, newest: int = KEPT) -> StageTimes:
        """Return the percentiles of the `newest` times; zeros if there are none."""
        count = self._count
        if not count:
            return StageTimes(p50_ms=0.0, p90_ms=0.0, p99_ms=0.0)
        places = np.arange(count - min(newest, count, KEPT), count) % KEPT
        p50, p90, p99 = (float(value) for value in np.percentile(np.frombuffer(self._values)[places], (50, 90, 99)))
        return StageTimes(p50_ms=p50, p90_ms=p90, p99_ms=p99)


class LoopStage:
    """Times one stage as a context manager, by one thread only; other threads may read its state.

    One object serves the whole loop: nothing is allocated per frame.
    """

    __slots__ = ("ended_s", "first_ended_s", "frame", "name", "note", "since_s", "times_ms")

    def __init__(self, name: str) -> None:
        self.name = name
        self.note = ""
        self.frame = 0
        self.since_s = 0.0
        self.first_ended_s = 0.0
        self.ended_s = 0.0
        self.times_ms = RecentTimes()

    def __enter__(self) -> LoopStage:
        self.since_s = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.ended_s = time.perf_counter()
            self.first_ended_s = self.first_ended_s or self.ended_s
            self.times_ms.append(1000 * (self.ended_s - self.since_s))
            self.frame += 1
        self.since_s = 0.0

    def last_ms(self) -> float:
        """Return the newest time, 0 if there is none."""
        return self.times_ms.last()


class LoopTimer:
    """The times of all stages; each stage is written by one thread only."""

    def __init__(self) -> None:
        self.stages = {name: LoopStage(name) for name in _STAGES}
        self.frames = 0
        self._ages_ms = RecentTimes()
        self._recent_s: deque[float] = deque(maxlen=RECENT + 1)
        self._first_s = 0.0
        self._started_s = time.perf_counter()
        self._shown: dict[str, StageTimes] = {}
        self._shown_s = 0.0

    def stage(self, name: str) -> LoopStage:
        """Return the stage's timer: `with timer.stage("infer"): ...`."""
        return self.stages[name]

    def done(self, *, captured_s: float) -> None:
        """Count a frame that is finished now."""
        now_s = time.perf_counter()
        self._ages_ms.append(1000 * (time.monotonic() - captured_s))
        self._recent_s.append(now_s)
        self._first_s = self._first_s or now_s
        self.frames += 1

    def last_age_ms(self) -> float:
        """Return the age of the newest finished frame in ms, 0 if there is none."""
        return self._ages_ms.last()

    def recent_fps(self) -> float:
        """Return the frames per second over the last 30 frames, 0 for fewer than two."""
        span_s = self._recent_s[-1] - self._recent_s[0] if len(self._recent_s) > 1 else 0.0
        return (len(self._recent_s) - 1) / span_s if span_s > 0 else 0.0

    def fps(self) -> float:
        """Return the frames per second from the first finished frame to the last; for one frame, 1 / its time.

        Where the first frame is held up, by a window or an encoder that opens, the next ones wait behind it and finish
        all at once; the engine's results did not, so their span counts if it is longer.
        """
        if self.frames == 0:
            return 0.0
        if self.frames == 1:
            return 1 / max(self._first_s - self._started_s, 1e-9)
        infer = self.stages["infer"]
        span_s = max(self._recent_s[-1] - self._first_s, infer.ended_s - infer.first_ended_s)
        return (self.frames - 1) / max(span_s, 1e-9)

    def percentiles(self) -> dict[str, StageTimes]:
        """Return the percentiles of each stage that ran."""
        return {name: stage.times_ms.percentiles() for name, stage in self.stages.items() if stage.times_ms}

    def recent_percentiles(self) -> dict[str, StageTimes]:
        """Return the percentiles of the newest times of each stage that ran; updated at most twice per second."""
        now_s = time.perf_counter()
        if now_s - self._shown_s >= SHOWN_FOR_S:
            self._shown = {
                name: stage.times_ms.percentiles(SHOWN_TIMES) for name, stage in self.stages.items() if stage.times_ms
            }
            self._shown_s = now_s
        return self._shown

    def age(self) -> StageTimes:
        """Return the percentiles of a frame's age when its result was out; zeros if there are none."""
        return self._ages_ms.percentiles()


def limiting_stage(stages_ms: dict[str, StageTimes], *, waits: bool | None = None) -> str:
    """Return the stage that sets a loop's rate, by median times: the longest one of the busiest thread.

    Capturing from a live source is waiting, not work, so `waits` says whether it limits the loop; None for files.
    """
    if waits:
        return "capture"
    times_ms = {name: times.p50_ms for name, times in stages_ms.items() if waits is None or name != "capture"}
    if not times_ms:
        return ""
    busiest = max(THREADS, key=lambda names: sum(times_ms.get(name, 0.0) for name in names))
    return max(busiest, key=lambda name: times_ms.get(name, 0.0))
