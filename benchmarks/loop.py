"""The camera loop's FPS on a video file against the engine and the decoder alone, alternating in one process.

Usage: python benchmarks/loop.py VIDEO ARTIFACT... [--output KIND]... [--threads N] [--rounds N] [--json FILE]
KIND is "none" (the default), "overlay", "video" (the overlay as H.264) or "web" (the page, with one viewer).
Prints one line per artifact and kind: the medians, and those of the rounds' ratios: loop over engine, and loop over the
slower of engine and decoder. The engine works on prepared tensors, and the decoder gives images that nobody uses. Then
the CPU time per frame of each of the loop's threads; "engine" is that of all threads which are not the loop's own.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.runtime import Session, VideoSink, load, open_camera, run
from edgeseg.runtime.web import WebAddress, WebSink

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeseg.core.protocols import Frame
    from edgeseg.runtime import Sink

KINDS = ("none", "overlay", "video", "web")
VIEWER = """
import sys, urllib.request
after = "0"
while True:
    with urllib.request.urlopen(f"{sys.argv[1]}frame?after={after}") as answer:
        answer.read()
        after = answer.headers.get("X-Frame", after)
"""
NAMES = {
    "edgeseg-capture": "capture",
    "edgeseg-preprocess": "preprocess",
    "edgeseg-infer": "infer",
    "edgeseg-decode": "decode and draw",
    "MainThread": "sinks",
    "edgeseg-watchdog": "watchdog",
}


class CpuTimes:
    """CPU time per frame of the loop's threads between two of its frames, in milliseconds."""

    def __init__(self, *, first: int, last: int) -> None:
        self._marks = (first, last)
        self._seconds: list[dict[str, float]] = []

    def finished(self, frames: int) -> None:
        """Read the clocks at the two frames; a callback of the loop."""
        if frames in self._marks:
            # Other threads, as those of the page's requests, may end at any time.
            clocks = {thread.name: thread.ident or 0 for thread in threading.enumerate() if thread.name in NAMES}
            own = {NAMES[name]: time.clock_gettime(time.pthread_getcpuclockid(at)) for name, at in clocks.items()}
            self._seconds.append({**own, "engine": time.process_time() - sum(own.values())})

    def per_frame(self) -> dict[str, float]:
        """Return the times; the engine may work in the thread "infer" or in threads of its own."""
        begin, end = self._seconds
        count = self._marks[1] - self._marks[0]
        times = {name: 1e3 * (end[name] - begin[name]) / count for name in end}
        times["engine"] += times.pop("infer")
        return times


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


@contextlib.contextmanager
def outputs(session: Session, kind: str, *, fps: float) -> Iterator[tuple[Sink, ...]]:
    """Yield the sinks of a kind."""
    with contextlib.ExitStack() as opened:
        if kind == "video":
            folder = opened.enter_context(tempfile.TemporaryDirectory())
            yield (VideoSink(Path(folder) / "out.mp4", fps=fps),)
        elif kind == "web":
            viewers: list[subprocess.Popen[bytes]] = []
            page = WebSink(
                session.artifact.manifest.spec,
                address=WebAddress(port=0),
                on_open=lambda url: viewers.append(
                    subprocess.Popen([sys.executable, "-c", VIEWER, url], stderr=subprocess.DEVNULL)
                ),
            )
            yield (page,)
            for viewer in viewers:
                viewer.kill()
                viewer.wait()
        else:
            yield ()


def loop_fps(session: Session, video: str, *, kind: str, count: int) -> tuple[float, dict[str, float]]:
    """Return frames per second from the first result to the last, as `edgeseg run` reports, and the CPU times."""
    cpu = CpuTimes(first=count // 10, last=count - count // 10)
    with open_camera(video) as camera, outputs(session, kind, fps=camera.fps) as sinks:
        result = run(session, camera, sinks=sinks, overlay=kind in ("overlay", "video"), on_frame=cpu.finished)
    return result.fps, cpu.per_frame()


def measured(session: Session, video: str, frames: list[Frame], *, kind: str, rounds: int) -> dict[str, object]:
    """Return the figures of one artifact and kind of output."""
    loops, engines, decoders, cpus = [], [], [], []
    loop_fps(session, video, kind=kind, count=len(frames))
    for _ in range(rounds):
        fps, cpu = loop_fps(session, video, kind=kind, count=len(frames))
        loops.append(fps)
        cpus.append(cpu)
        engines.append(engine_fps(session, frames))
        decoders.append(decoder_fps(video))
    figures = list(zip(loops, engines, decoders, strict=True))
    return {
        "artifact": session.artifact.manifest.name,
        "engine": session.engine,
        "input": session.input.size,
        "image": frames[0].image.shape[:2],
        "output": kind,
        "frames": len(frames),
        "threads": session.threads,
        "rounds": rounds,
        "loop_fps": statistics.median(loops),
        "engine_fps": statistics.median(engines),
        "decoder_fps": statistics.median(decoders),
        "ratio": statistics.median(loop / engine for loop, engine, _ in figures),
        "ratio_to_slower": statistics.median(loop / min(engine, decoder) for loop, engine, decoder in figures),
        "cpu_ms": {name: round(statistics.median(cpu[name] for cpu in cpus), 3) for name in cpus[0]},
    }


def line(row: dict[str, object]) -> str:
    """Return a row as text."""
    cpu = row["cpu_ms"]
    assert isinstance(cpu, dict)
    return (
        f"{row['artifact']}, {row['threads']} threads, output {row['output']}, {row['frames']} frames: loop "
        f"{row['loop_fps']:.1f} FPS, engine alone {row['engine_fps']:.1f} FPS, decoder alone {row['decoder_fps']:.1f} "
        f"FPS, ratio {row['ratio']:.3f}, to the slower of both {row['ratio_to_slower']:.3f}; CPU ms per frame: "
        + ", ".join(f"{name} {value:.2f}" for name, value in cpu.items())
        + f", sum {sum(cpu.values()):.2f}"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video")
    parser.add_argument("artifacts", nargs="+", type=Path)
    parser.add_argument("--output", choices=KINDS, action="append", help="may be repeated")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    rows = []
    with open_camera(options.video) as camera:
        frames = list(itertools.islice(camera.frames(), 16))
        frames += [frames[0]] * sum(1 for _ in camera.frames())  # one image is enough: 200 of 1920x1080 take 1.2 GB
    for folder in options.artifacts:
        with load(folder, threads=options.threads) as session:
            for kind in options.output or ["none"]:
                rows.append(measured(session, options.video, frames, kind=kind, rounds=options.rounds))
                print(line(rows[-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
