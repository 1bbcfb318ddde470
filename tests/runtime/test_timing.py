"""Which stage sets a loop's rate."""

from __future__ import annotations

import time

import numpy as np
import pytest

from edgeseg.runtime.loop.stage_timing import KEPT, LoopTimer, RecentTimes, limiting_stage
from edgeseg.runtime.sinks.hud import StageTimes


def times(**p50_ms: float) -> dict[str, StageTimes]:
    return {name: StageTimes(p50_ms=value, p90_ms=value, p99_ms=value) for name, value in p50_ms.items()}


@pytest.mark.parametrize(
    ("stages", "waits", "limit"),
    [
        (times(capture=8, preprocess=1, infer=7, decode=2), None, "capture"),
        (times(capture=3, preprocess=9, infer=8, decode=2), None, "preprocess"),
        (times(capture=5, preprocess=5, infer=8, decode=2), None, "infer"),
        (times(capture=1, preprocess=1, infer=8, decode=5, draw=4), None, "decode"),
        (times(capture=1, preprocess=1, infer=8, decode=2, sink=9), None, "sink"),
        (times(capture=12, preprocess=1, infer=20), True, "capture"),
        (times(capture=12, preprocess=1, infer=8), False, "infer"),
        ({}, None, ""),
    ],
)
def test_the_longest_stage_of_the_busiest_thread_sets_the_rate(
    stages: dict[str, StageTimes], waits: bool | None, limit: str
) -> None:
    assert limiting_stage(stages, waits=waits) == limit


def test_frames_that_waited_behind_the_first_do_not_make_a_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    timer = LoopTimer()
    for _ in range(3):
        with timer.stage("infer"):
            now[0] += 0.1
    for _ in range(3):  # the first one's window took long to open
        timer.done(captured_s=0.0)
        now[0] += 0.001
    assert timer.fps() == pytest.approx(10.0)


def test_percentiles_are_those_of_the_newest_times_and_the_oldest_make_room() -> None:
    times_ms = RecentTimes()
    assert (len(times_ms), times_ms.last()) == (0, 0.0)
    assert times_ms.percentiles() == StageTimes(p50_ms=0.0, p90_ms=0.0, p99_ms=0.0)
    for count in range(1, KEPT + 6):
        times_ms.append(float(count))
        if count == 3:
            assert times_ms.percentiles().p50_ms == times_ms.percentiles(3).p50_ms == 2.0
    assert (len(times_ms), times_ms.last()) == (KEPT, KEPT + 5.0)
    assert times_ms.percentiles().p50_ms == pytest.approx(np.median(np.arange(6, KEPT + 6)))
    assert times_ms.percentiles(9).p50_ms == KEPT + 1.0
