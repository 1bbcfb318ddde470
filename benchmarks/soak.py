"""A soak test of the loop: memory, threads, open files and rate over minutes at full load.

Usage: python benchmarks/soak.py ARTIFACT [--source URI] [--minutes 30] [--threads N] [--web] [--json FILE]
                                [--samples FILE]
A file is read again from its start when it ends, in one process. Resident memory, threads and open files are sampled
every two seconds, and a line is fitted to them after the first tenth (while caches fill). A shared or warm machine is
not equally fast in every minute, so every five seconds the loop is drained and the engine alone is timed for half a
second: the loop's rate is compared with the engine's in the same minute, and the engine's own rate is reported too.
Exit status 3 if something grows, or if the last minute's rate is below 0.95 of the first's. Linux only: reads /proc.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import os
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgeseg.core.protocols import Camera, Frame
from edgeseg.runtime import Session, Sink, load, open_camera, run
from edgeseg.runtime.web import WebAddress, WebSink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

SAMPLE_S = 2.0
PROBE_EVERY_S = 5.0
PROBE_S = 0.5
EMPTY_WITHIN_S = 5.0
MEMORY_MB_PER_HOUR = 1.0
"""The smallest growth that counts, since allocators fluctuate: two bytes lost per frame, 140 times a second."""
LAST_AGAINST_FIRST = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A sample of the process, with the frames of loop and engine so far."""

    at_s: float
    memory_mb: float
    threads: int
    files: int
    frames: int
    paused_s: float
    alone_frames: int
    alone_s: float


class Probe:
    """Times the engine alone, between two frames of the loop."""

    def __init__(self, session: Session, image: np.ndarray) -> None:
        self._session = session
        self._tensor = session.preprocess(image)
        self._next_s = time.monotonic() + PROBE_EVERY_S
        self.loop_frames = 0
        self.paused_s = 0.0
        self.frames = 0
        self.alone_s = 0.0
        self.running = threading.Lock()

    def finished(self, frames: int) -> None:
        """Record how many frames the loop has finished."""
        self.loop_frames = frames

    def between(self, sent: int) -> None:
        """If it is time, wait until the loop has finished all its frames, and time the engine."""
        if time.monotonic() < self._next_s:
            return
        with self.running:
            paused_s = time.monotonic()
            while self.loop_frames < sent:
                if time.monotonic() > paused_s + EMPTY_WITHIN_S:
                    raise TimeoutError(f"the loop finished {self.loop_frames} of {sent} frames in {EMPTY_WITHIN_S} s")
                time.sleep(0.001)
            started_s = time.monotonic()
            while time.monotonic() < started_s + PROBE_S:
                self._session.infer(self._tensor)
                self.frames += 1
            ended_s = time.monotonic()
            self.alone_s += ended_s - started_s
            # Python's free lists (up to 2000 tuples of each length) fill slowly and look like a leak: a
            # full collection clears them. The loop is idle here, so this costs it nothing.
            gc.collect()
            ended_s = time.monotonic()
            self.paused_s += ended_s - paused_s
            self._next_s = ended_s + PROBE_EVERY_S


class Again:
    """Repeats a file's frames, or an endless source's, until the time is up; `between` is called after each."""

    skipped = 0
    trouble = ""

    def __init__(self, uri: str, *, seconds: float, between: Callable[[int], None]) -> None:
        self._uri = uri
        self._between = between
        self._until_s = time.monotonic() + seconds
        self._camera: Camera = open_camera(uri)
        self.fps = self._camera.fps
        self.live = self._camera.live
        self.counts = self._camera.counts

    def __enter__(self) -> Again:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def frames(self) -> Iterator[Frame]:
        """Yield the frames, numbered consecutively."""
        index = 0
        while time.monotonic() < self._until_s:
            self._camera = open_camera(self._uri)
            with self._camera as camera:
                for frame in camera.frames():
                    yield Frame(index=index, image=frame.image, captured_s=frame.captured_s)
                    index += 1
                    self._between(index)
                    if time.monotonic() >= self._until_s:
                        return

    def stop(self) -> None:
        """Stop the open camera."""
        self._camera.stop()


def sample(start_s: float, probe: Probe) -> Sample:
    """Return a sample of the process now, or after a running probe."""
    with probe.running:
        with open("/proc/self/statm", encoding="ascii") as memory:  # noqa: PTH123
            pages = int(memory.read().split()[1])
        return Sample(
            at_s=time.monotonic() - start_s,
            memory_mb=pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
            threads=len(os.listdir("/proc/self/task")),  # noqa: PTH208
            files=len(os.listdir("/proc/self/fd")),  # noqa: PTH208
            frames=probe.loop_frames,
            paused_s=probe.paused_s,
            alone_frames=probe.frames,
            alone_s=probe.alone_s,
        )


def slope(samples: list[Sample], what: str) -> tuple[float, float]:
    """Return the fitted growth per hour and its standard error."""
    hours = np.array([found.at_s / 3600 for found in samples])
    values = np.array([float(getattr(found, what)) for found in samples])
    if len(samples) < 3:
        return 0.0, float("inf")
    centred = hours - hours.mean()
    growth = float(centred @ values / (centred @ centred))
    left = values - values.mean() - growth * centred
    return growth, float(np.sqrt(left @ left / (len(samples) - 2) / (centred @ centred)))


def rates(samples: list[Sample]) -> tuple[list[float], list[float]]:
    """Return the FPS of loop and of engine in each whole minute (or in each half of a run under two minutes)."""
    end_s = samples[-1].at_s
    step_s = 60.0 if end_s >= 120 else end_s / 2
    edges = [
        min(samples, key=lambda found: abs(found.at_s - step_s * i)) for i in range(int(end_s / step_s + 0.05) + 1)
    ]
    pairs = [(a, b) for a, b in itertools.pairwise(edges) if b.alone_s > a.alone_s]
    loop = [(b.frames - a.frames) / (b.at_s - a.at_s - b.paused_s + a.paused_s) for a, b in pairs]
    return loop, [(b.alone_frames - a.alone_frames) / (b.alone_s - a.alone_s) for a, b in pairs]


def verdict(samples: list[Sample]) -> dict[str, object]:
    """Return the figures and the verdict."""
    settled = samples[len(samples) // 10 :]
    loop, engine = rates(samples)
    ratios = [mine / alone for mine, alone in zip(loop, engine, strict=True)]
    growth = {what: slope(settled, what) for what in ("memory_mb", "threads", "files")}
    grows = {
        what: per_hour > 3 * error and per_hour > (MEMORY_MB_PER_HOUR if what == "memory_mb" else 1.0)
        for what, (per_hour, error) in growth.items()
    }
    steady = ratios[-1] >= LAST_AGAINST_FIRST * ratios[0]
    return {
        "minutes": samples[-1].at_s / 60,
        "frames": samples[-1].frames,
        "growth_per_hour": {what: {"fitted": fit, "standard_error": error} for what, (fit, error) in growth.items()},
        "grows": grows,
        "memory_mb_by_tenth": [float(np.median([found.memory_mb for found in tenth])) for tenth in _tenths(samples)],
        "loop_fps_by_minute": loop,
        "engine_fps_by_minute": engine,
        "loop_over_engine_by_minute": ratios,
        "last_over_first": {
            "loop": loop[-1] / loop[0],
            "engine": engine[-1] / engine[0],
            "loop_over_engine": ratios[-1] / ratios[0],
        },
        "spread": {
            what: float(np.std(values) / np.mean(values))
            for what, values in (("loop", loop), ("engine", engine), ("loop_over_engine", ratios))
        },
        "holds": steady and not any(grows.values()),
    }


def _tenths(samples: list[Sample]) -> list[list[Sample]]:
    """Return the samples in ten consecutive parts, fewer if there are fewer samples.

    The allocator returns memory for moments: medians ignore these, a fitted line does not.
    """
    parts = (samples[len(samples) * i // 10 : len(samples) * (i + 1) // 10] for i in range(10))
    return [part for part in parts if part]


def main() -> int:
    """Run, print the verdict, and return 3 if it is bad."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--source", default="synthetic:1")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--web", action="store_true", help="also serve the page (open it for more load)")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--samples", type=Path, help="write the samples to this file, one JSON object per line")
    options = parser.parse_args()
    start_s, done = time.monotonic(), threading.Event()
    # Samples go to a file, not into the memory that they measure.
    with (
        options.samples.open("w+") if options.samples else tempfile.TemporaryFile("w+") as kept,
        load(options.artifact, threads=options.threads) as session,
    ):
        with open_camera(options.source) as first:
            image = next(iter(first.frames())).image
        probe = Probe(session, image)

        def watch() -> None:
            while not done.wait(SAMPLE_S):
                kept.write(f"{json.dumps(asdict(sample(start_s, probe)))}\n")

        camera = Again(options.source, seconds=60 * options.minutes, between=probe.between)
        page = WebSink(session.artifact.manifest.spec, address=WebAddress(), on_open=print)
        sinks: tuple[Sink, ...] = (page,) if options.web else ()
        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        run(session, camera, sinks=sinks, on_frame=probe.finished)
        done.set()
        watcher.join()
        kept.seek(0)
        samples = [Sample(**json.loads(line)) for line in kept]
    found = {
        "artifact": session.artifact.manifest.name,
        "engine": session.engine,
        "input": session.input.size,
        "threads": options.threads,
        "cores": os.cpu_count(),
        "web": options.web,
        **verdict(samples),
    }
    print(json.dumps(found, indent=2))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    print(f"{'holds' if found['holds'] else 'DOES NOT HOLD'} over {samples[-1].at_s / 60:.1f} minutes")
    return 0 if found["holds"] else 3


if __name__ == "__main__":
    sys.exit(main())
