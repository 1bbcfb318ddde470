"""Latency of opened artifacts, stage by stage, on real images."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import math
import secrets
from typing import TYPE_CHECKING

from edgeseg.bench.devices import DeviceWatch
from edgeseg.bench.memory import measure_fresh_process
from edgeseg.bench.record import build_measurement
from edgeseg.bench.sustained import sustain
from edgeseg.bench.timer import SessionTimer
from edgeseg.core.timing_method import MLPERF_QUERIES, MLPERF_SECONDS, Protocol, TimingMethod
from edgeseg.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np

    from edgeseg.bench.memory import FreshProcess
    from edgeseg.core.measurement import DeviceState, Measurement
    from edgeseg.core.progress import Progress
    from edgeseg.runtime import Session

ACCURACY_ONLY = ("mil-reference",)
"""Engines that only check a format's numbers; their time says nothing about any device."""

_BLOCKS = 10
_UNCOUNTED = 2
_IMAGES = 8


def measure_latency(
    session: Session,
    *,
    runs: int = 200,
    warmup: int | None = None,
    images: Sequence[np.ndarray] | None = None,
    seconds: float | None = None,
    least_seconds: float = 0.0,
    device_name: str | None = None,
    memory: bool = True,
    mlperf: bool = False,
    on_progress: Progress | None = None,
) -> Measurement:
    """Return percentiles, mean and minimum time of each stage over at least `runs` runs after an uncounted warm-up.

    `warmup` is a number of runs; None: until the running median settles. `images` are (H, W, 3) BGR uint8, used in
    turn (default: eight rendered streets). The runs last at least `least_seconds`; with `seconds` they end after that
    time, but not before five runs. `mlperf` asks for the single-stream rule of MLPerf Mobile: at least 1024 runs and
    60 s. fps is 1000 / p50 of the total: one image after the other, nothing overlapped. An engine that is only a
    reference gives no latency.

    Raises:
        InputError: fewer than one run, a negative warm-up or time, or no image.
    """
    return bench_interleaved(
        [session], runs=runs, warmup=warmup, images=images, seconds=seconds, least_seconds=least_seconds,
        device_name=device_name, memory=memory, mlperf=mlperf, on_progress=on_progress,
    )[0]  # fmt: skip


def bench_interleaved(
    sessions: Sequence[Session],
    *,
    runs: int = 200,
    warmup: int | None = None,
    images: Sequence[np.ndarray] | None = None,
    seconds: float | None = None,
    least_seconds: float = 0.0,
    device_name: str | None = None,
    memory: bool = True,
    mlperf: bool = False,
    on_progress: Progress | None = None,
) -> tuple[Measurement, ...]:
    """Return one measurement per session, taken in turn, A B C, B C A, C A B, in ten rounds or more.

    Other load on the machine then affects all alike, so the ratios of the medians hold even if the times do not.
    The first two runs of a block do not count: the previous engine's threads may still be busy-waiting.
    Arguments and errors are those of `bench`; `runs` and the times are for each session.
    """
    if mlperf:
        runs, least_seconds = max(runs, MLPERF_QUERIES), max(least_seconds, MLPERF_SECONDS)
    _check(runs=runs, warmup=warmup, seconds=seconds, least_seconds=least_seconds)
    timed = [session for session in sessions if session.engine not in ACCURACY_ONLY]
    shown = _images(images) if timed else ()
    fresh = [_fresh(session) if memory and session in timed else None for session in sessions]
    limit_s = math.inf if seconds is None else seconds
    timers = {
        id(session): SessionTimer(session, shown, runs=runs, least_seconds=least_seconds, seconds=limit_s)
        for session in timed
    }
    watch = DeviceWatch(name=device_name)
    rounds = _run_rounds(list(timers.values()), runs=runs, warmup=warmup, on_progress=on_progress)
    device = watch.finish()
    method = _method("mlperf-single-stream" if mlperf else "standard", runs=runs, seconds=least_seconds, rounds=rounds)
    return tuple(
        _measurement(session, timers.get(id(session)), method, fresh=started, images=shown, device=device)
        for session, started in zip(sessions, fresh, strict=True)
    )


def bench_sustained(
    session: Session,
    *,
    seconds: float,
    warmup: int | None = None,
    images: Sequence[np.ndarray] | None = None,
    device_name: str | None = None,
    memory: bool = True,
    on_progress: Progress | None = None,
) -> Measurement:
    """Return the measurement of running without a pause for `seconds`, with its curve and verdict in `sustained`.

    Other arguments and errors are those of `bench`.
    """
    _check(runs=1, warmup=warmup, seconds=seconds, least_seconds=0.0)
    if session.engine in ACCURACY_ONLY:
        return measure_latency(session, device_name=device_name, memory=False)
    shown = _images(images)
    fresh = _fresh(session) if memory else None
    timer = SessionTimer(session, shown, runs=1, least_seconds=seconds)
    watch = DeviceWatch(name=device_name)
    timer.warm_up(warmup)
    with _without_collector():
        curve = sustain(timer, seconds=seconds, on_progress=on_progress)
    device = watch.finish()
    if curve.verdict == "throttled" or any(minute.throttled for minute in curve.minutes):
        device = dataclasses.replace(device, throttled=True)
    method = _method("sustained", runs=1, seconds=seconds, rounds=1)
    measured = _measurement(session, timer, method, fresh=fresh, images=shown, device=device)
    return dataclasses.replace(measured, sustained=curve)


def ratio(measurement: Measurement, baseline: Measurement, *, stage: str = "total") -> float | None:
    """Return how many times faster than `baseline` a measurement is in a stage, by their medians; None if not timed."""
    ours, theirs = measurement.stage(stage), baseline.stage(stage)
    return theirs.p50_ms / ours.p50_ms if ours and theirs and ours.p50_ms else None


def _run_rounds(timers: Sequence[SessionTimer], *, runs: int, warmup: int | None, on_progress: Progress | None) -> int:
    """Run every timer to its end in turn, and return the number of rounds."""
    for timer in timers:
        timer.warm_up(warmup)
    rounds = 0
    with _without_collector():
        while any(not timer.is_done for timer in timers):
            # Another one begins each round: whoever follows an engine with busy threads would always be the same.
            turn = rounds % len(timers)
            for timer in (*timers[turn:], *timers[:turn]):
                if timer.is_done:
                    continue
                timer.warm(_UNCOUNTED)
                timer.block(math.ceil(runs / _BLOCKS))
                if on_progress is not None:
                    done = sum(min(len(other.rows_ns), runs) for other in timers)
                    on_progress("time", done, runs * len(timers))
            rounds += 1
            gc.collect()
    return max(1, rounds)


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    """Keep the garbage collector from hitting a random run."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def _method(protocol: Protocol, *, runs: int, seconds: float, rounds: int) -> TimingMethod:
    return TimingMethod(
        protocol=protocol, session=secrets.token_hex(8), least_runs=runs, least_seconds=seconds, rounds=rounds
    )


def _measurement(
    session: Session, timer: SessionTimer | None, method: TimingMethod, *, fresh: FreshProcess | None,
    device: DeviceState, images: Sequence[np.ndarray],
) -> Measurement:  # fmt: skip
    if timer is None:
        return build_measurement(session, device=device)
    return build_measurement(
        session,
        samples=timer.samples(),
        warmup=timer.warmup,
        method=dataclasses.replace(method, settled=timer.settled),
        fresh=fresh,
        energy_mj=timer.energy_mj,
        device=device,
        image_size=(images[0].shape[0], images[0].shape[1]),
    )


def _check(*, runs: int, warmup: int | None, seconds: float | None, least_seconds: float) -> None:
    if runs < 1:
        raise InputError(f"runs is {runs}; give 1 or more.")
    if warmup is not None and warmup < 0:
        raise InputError(f"warmup is {warmup}; give 0 or more.")
    if seconds is not None and not seconds > 0:
        raise InputError(f"seconds is {seconds}; give more than 0.")
    if not least_seconds >= 0:
        raise InputError(f"least_seconds is {least_seconds}; give 0 or more.")


def _images(images: Sequence[np.ndarray] | None) -> Sequence[np.ndarray]:
    if images is not None:
        if not len(images):
            raise InputError("images is empty; give one or more, or leave it out for rendered streets.")
        return images
    from edgeseg.data import StreetsDataset

    streets = StreetsDataset(split="test", count=_IMAGES)
    return [streets.load(index).image for index in range(_IMAGES)]


def _fresh(session: Session) -> FreshProcess | None:
    return measure_fresh_process(session.artifact.folder, engine=session.engine, threads=session.threads)
