"""The camera loop's FPS on a video file against the engine and the decoder alone, alternating in one process.

Usage: python benchmarks/loop.py VIDEO ARTIFACT... [--threads N] [--rounds N] [--json FILE]
Prints one line per artifact: the medians, and those of the rounds' ratios: loop over engine, and loop over the slower
of engine and decoder. The engine works on prepared tensors, and the decoder gives images that nobody uses.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.runtime import Session, load, open_camera, run

if TYPE_CHECKING:
    from edgeseg.core.protocols import Frame


def engine_fps(session: Session, frames: list[Frame]) -> float:
    """Return frames per second of `infer` alone, on prepared tensors."""
    tensors = [session.preprocess(frame.image) for frame in frames[:16]]
    started_s = time.perf_counter()
    for tensor in itertools.islice(itertools.cycle(tensors), len(frames)):
        session.infer(tensor)
    return len(frames) / (time.perf_counter() - started_s)


def decoder_fps(video: str) -> float:
    """Return frames per second of the video's decoder alone, from its first image to its last."""
    with open_camera(video) as camera:
        times_s = [time.perf_counter() for _ in camera.frames()]
    return (len(times_s) - 1) / (times_s[-1] - times_s[0])


def loop_fps(session: Session, video: str) -> float:
    """Return frames per second from the first label map to the last, without overlay, as `edgeseg run` reports."""
    with open_camera(video) as camera:
        return run(session, camera, overlay=False).fps


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video")
    parser.add_argument("artifacts", nargs="+", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    rows = []
    with open_camera(options.video) as camera:
        frames = list(camera.frames())
    for folder in options.artifacts:
        with load(folder, threads=options.threads) as session:
            engine_fps(session, frames)
            rounds = [
                (loop_fps(session, options.video), engine_fps(session, frames), decoder_fps(options.video))
                for _ in range(options.rounds)
            ]
        loops, engines, decoders = zip(*rounds, strict=True)
        row = {
            "artifact": session.artifact.manifest.name,
            "engine": session.engine,
            "input": session.input.size,
            "image": frames[0].image.shape[:2],
            "frames": len(frames),
            "threads": options.threads,
            "rounds": options.rounds,
            "loop_fps": statistics.median(loops),
            "engine_fps": statistics.median(engines),
            "decoder_fps": statistics.median(decoders),
            "ratio": statistics.median(loop / engine for loop, engine, _ in rounds),
            "ratio_to_slower": statistics.median(loop / min(engine, decoder) for loop, engine, decoder in rounds),
        }
        rows.append(row)
        print(
            f"{row['artifact']}, {options.threads} threads, {len(frames)} frames: loop {row['loop_fps']:.1f} FPS, "
            f"engine alone {row['engine_fps']:.1f} FPS, decoder alone {row['decoder_fps']:.1f} FPS, "
            f"ratio {row['ratio']:.3f}, to the slower of both {row['ratio_to_slower']:.3f}",
            flush=True,
        )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
