"""Latency of opened artifacts, stage by stage, on real images."""

from __future__ import annotations

import gc
import math
import time
from typing import TYPE_CHECKING

import numpy as np

from edgeseg.bench.devices import DeviceWatch
from edgeseg.bench.memory import measure_peak_memory_mb
from edgeseg.bench.record import build_measurement
from edgeseg.bench.samples import pack_samples
from edgeseg.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeseg.core.measurement import DeviceState, Measurement, RawSamples
    from edgeseg.core.progress import Progress
    from edgeseg.runtime import Session

ACCURACY_ONLY = ("mil-reference",)
"""Engines that only check a format's numbers; their time says nothing about any device."""

_BLOCKS = 10
_UNCOUNTED = 2
_IMAGES = 8
_LEAST_RUNS = 5


def bench(
    session: Session,
    *,
    runs: int = 200,
    warmup: int = 20,
    images: Sequence[np.ndarray] | None = None,
    seconds: float | None = None,
    device_name: str | None = None,
    memory: bool = True,
    on_progress: Progress | None = None,
) -> Measurement:
    """Return percentiles, mean and minimum time of each stage over `runs` runs after `warmup` uncounted ones.

    `images` are (H, W, 3) BGR uint8, used in turn (default: eight rendered streets); with `seconds`, the runs end
    after that time, but not before five runs. fps is 1000 / p50 of the total: one image after the other, nothing
    overlapped. An engine that is only a reference gives no latency.

    Raises:
        InputError: fewer than one run, a negative warm-up, or no image.
    """
    return bench_interleaved(
        [session], runs=runs, warmup=warmup, images=images, seconds=seconds, device_name=device_name,
        memory=memory, on_progress=on_progress,
    )[0]  # fmt: skip


def bench_interleaved(
    sessions: Sequence[Session],
    *,
    runs: int = 200,
    warmup: int = 20,
    images: Sequence[np.ndarray] | None = None,
    seconds: float | None = None,
    device_name: str | None = None,
    memory: bool = True,
    on_progress: Progress | None = None,
) -> tuple[Measurement, ...]:
    """Return one measurement per session, taken in turn, A B C A B C, in ten blocks each.

    Other load on the machine then affects all alike, so the ratios of the medians hold even if the times do not.
    The first two runs of a block do not count: the previous engine's threads may still be busy-waiting.
    Arguments and errors are those of `bench`; `runs` and `seconds` are for each session.
    """
    _check(runs=runs, warmup=warmup, seconds=seconds)
    timed = [session for session in sessions if session.engine not in ACCURACY_ONLY]
    shown = _images(images) if timed else ()
    peaks = [_peak_mb(session) if memory and session in timed else None for session in sessions]
    watch = DeviceWatch(name=device_name)
    timers = _run_blocks(timed, shown, runs=runs, warmup=warmup, seconds=seconds, on_progress=on_progress)
    device = watch.finish()
    return tuple(
        _measurement(session, timers.get(id(session)), peak, warmup=warmup, device=device, images=shown)
        for session, peak in zip(sessions, peaks, strict=True)
    )


def ratio(measurement: Measurement, baseline: Measurement, *, stage: str = "total") -> float | None:
    """Return how many times faster than `baseline` a measurement is in a stage, by their medians; None if not timed."""
    ours, theirs = measurement.stage(stage), baseline.stage(stage)
    return theirs.p50_ms / ours.p50_ms if ours and theirs and ours.p50_ms else None


class _SessionTimer:
    """Times one session: per run a row of nanoseconds (preprocess, infer, decode)."""

    def __init__(self, session: Session, images: Sequence[np.ndarray], *, runs: int, seconds: float) -> None:
        self._session = session
        self._images = images
        self._runs = runs
        self._seconds = seconds
        self._turn = 0
        self.spent_s = 0.0
        self.rows_ns: list[tuple[int, int, int]] = []

    @property
    def is_done(self) -> bool:
        return len(self.rows_ns) >= self._runs or (self.spent_s >= self._seconds and len(self.rows_ns) >= _LEAST_RUNS)

    def warm(self, runs: int) -> None:
        for _ in range(runs):
            self._once()

    def block(self, runs: int) -> None:
        start = time.perf_counter()
        for _ in range(runs):
            self.rows_ns.append(self._once())
            self.spent_s += time.perf_counter() - start
            start = time.perf_counter()
            if self.is_done:
                return

    def _once(self) -> tuple[int, int, int]:
        image = self._images[self._turn % len(self._images)]
        self._turn += 1
        size = (image.shape[0], image.shape[1])
        start = time.perf_counter_ns()
        tensor = self._session.preprocess(image)
        prepared = time.perf_counter_ns()
        output = self._session.infer(tensor)
        inferred = time.perf_counter_ns()
        self._session.decode(output, size=size)
        return prepared - start, inferred - prepared, time.perf_counter_ns() - inferred

    def samples(self) -> RawSamples:
        return pack_samples(np.array(self.rows_ns, np.int64))


def _run_blocks(
    sessions: Sequence[Session], images: Sequence[np.ndarray], *, runs: int, warmup: int, seconds: float | None,
    on_progress: Progress | None,
) -> dict[int, _SessionTimer]:  # fmt: skip
    limit_s = math.inf if seconds is None else seconds
    timers = {id(session): _SessionTimer(session, images, runs=runs, seconds=limit_s) for session in sessions}
    for timer in timers.values():
        timer.warm(warmup)
    collecting = gc.isenabled()
    gc.disable()  # a collection would hit a random run
    try:
        while any(not timer.is_done for timer in timers.values()):
            for timer in timers.values():
                if timer.is_done:
                    continue
                timer.warm(_UNCOUNTED)
                timer.block(math.ceil(runs / _BLOCKS))
                if on_progress is not None:
                    on_progress("time", sum(len(other.rows_ns) for other in timers.values()), runs * len(timers))
            gc.collect()
    finally:
        if collecting:
            gc.enable()
    return timers


def _measurement(
    session: Session, timer: _SessionTimer | None, peak_mb: float | None, *, warmup: int, device: DeviceState,
    images: Sequence[np.ndarray],
) -> Measurement:  # fmt: skip
    return build_measurement(
        session,
        samples=timer.samples() if timer else None,
        warmup=warmup if timer else 0,
        peak_memory_mb=peak_mb,
        device=device,
        image_size=(images[0].shape[0], images[0].shape[1]) if timer else None,
    )


def _check(*, runs: int, warmup: int, seconds: float | None) -> None:
    if runs < 1:
        raise InputError(f"runs is {runs}; give 1 or more.")
    if warmup < 0:
        raise InputError(f"warmup is {warmup}; give 0 or more.")
    if seconds is not None and not seconds > 0:
        raise InputError(f"seconds is {seconds}; give more than 0.")


def _images(images: Sequence[np.ndarray] | None) -> Sequence[np.ndarray]:
    if images is not None:
        if not len(images):
            raise InputError("images is empty; give one or more, or leave it out for rendered streets.")
        return images
    from edgeseg.data import StreetsDataset

    streets = StreetsDataset(split="test", count=_IMAGES)
    return [streets.load(index).image for index in range(_IMAGES)]


def _peak_mb(session: Session) -> float | None:
    return measure_peak_memory_mb(session.artifact.folder, engine=session.engine, threads=session.threads)
