"""The camera loop's FPS on a video file against the engine alone on prepared tensors, in turn in one process.

Usage: python benchmarks/loop.py VIDEO ARTIFACT... [--threads N] [--rounds N]
Prints one line an artifact: the medians of both, and the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from pathlib import Path

from edgeseg.core.protocols import Frame
from edgeseg.runtime import Session, load, open_camera, run


def engine_fps(session: Session, frames: list[Frame]) -> float:
    """Return frames a second of `infer` alone, on tensors that were prepared before."""
    tensors = [session.preprocess(frame.image) for frame in frames[:16]]
    started_s = time.perf_counter()
    for tensor in itertools.islice(itertools.cycle(tensors), len(frames)):
        session.infer(tensor)
    return len(frames) / (time.perf_counter() - started_s)


def loop_fps(session: Session, video: str) -> float:
    """Return frames a second from the opened file to the label map of its last frame, without overlay."""
    with open_camera(video) as camera:
        started_s = time.perf_counter()
        done = run(session, camera, overlay=False)
    return done.frames / (time.perf_counter() - started_s)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video")
    parser.add_argument("artifacts", nargs="+", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with open_camera(options.video) as camera:
        frames = list(camera.frames())
    for folder in options.artifacts:
        with load(folder, threads=options.threads) as session:
            engine_fps(session, frames)
            pairs = [(loop_fps(session, options.video), engine_fps(session, frames)) for _ in range(options.rounds)]
        loops, engines = zip(*pairs, strict=True)
        ratio = statistics.median(loop / engine for loop, engine in pairs)
        print(
            f"{session.artifact.manifest.name}, {options.threads} threads, {len(frames)} frames: loop "
            f"{statistics.median(loops):.1f} FPS, engine alone {statistics.median(engines):.1f} FPS, ratio {ratio:.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
