"""`edgeseg run` against the loop of tutorials, doing the same work, alternating in one process.

The plain loop reads a frame, resizes it, infers, resizes every class's logits to the image's size, takes the argmax,
blends the class colours over the image with one mask per class, and writes the video: one step after the other.

Usage: python benchmarks/plain_loop.py VIDEO ARTIFACT... [--threads N] [--rounds N] [--json FILE]
Prints one line per artifact: the medians of both, and the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from edgeseg.runtime import Session, VideoSink, load, open_camera, run


def plain_fps(session: Session, video: str, out: Path) -> float:
    """Return frames per second of the plain loop, from opening to finishing the file."""
    palette = [color[::-1] for color in session.artifact.manifest.spec.palette]
    started_s = time.perf_counter()
    capture = cv2.VideoCapture(video)
    size = (int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)))
    writer = cv2.VideoWriter(str(out), cv2.VideoWriter.fourcc(*"mp4v"), capture.get(cv2.CAP_PROP_FPS), size)
    count = 0
    while True:
        good, image = capture.read()
        if not good:
            break
        logits = session.infer(session.preprocess(image))[0]
        if session.output.layout == "NCHW":
            logits = logits.transpose(1, 2, 0)
        enlarged = cv2.resize(np.ascontiguousarray(logits, np.float32), size, interpolation=cv2.INTER_LINEAR)
        labels = enlarged.argmax(axis=-1)
        colored = np.zeros_like(image)
        for index, color in enumerate(palette):
            colored[labels == index] = color
        drawn = cv2.addWeighted(image, 0.45, colored, 0.55, 0)
        cv2.putText(drawn, f"frame {count}", (8, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1, cv2.LINE_AA)
        writer.write(drawn)
        count += 1
    writer.release()
    capture.release()
    return count / (time.perf_counter() - started_s)


def our_fps(session: Session, video: str, out: Path) -> float:
    """Return frames per second of our loop with overlay and video, from opening to finishing the file."""
    started_s = time.perf_counter()
    with open_camera(video) as camera:
        done = run(session, camera, sinks=(VideoSink(out, fps=camera.fps),))
    return done.frames / (time.perf_counter() - started_s)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video")
    parser.add_argument("artifacts", nargs="+", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    rows = []
    for folder in options.artifacts:
        with load(folder, threads=options.threads) as session, tempfile.TemporaryDirectory() as scratch:
            out = Path(scratch) / "out.mp4"
            our_fps(session, options.video, out)
            pairs = [
                (our_fps(session, options.video, out), plain_fps(session, options.video, out))
                for _ in range(options.rounds)
            ]
        ours, plain = zip(*pairs, strict=True)
        row = {
            "artifact": session.artifact.manifest.name,
            "engine": session.engine,
            "input": session.input.size,
            "threads": options.threads,
            "loop_fps": statistics.median(ours),
            "plain_fps": statistics.median(plain),
            "ratio": statistics.median(our / other for our, other in pairs),
        }
        rows.append(row)
        print(
            f"{row['artifact']}, {options.threads} threads: edgeseg {row['loop_fps']:.1f} FPS, plain loop "
            f"{row['plain_fps']:.1f} FPS, ratio {row['ratio']:.2f}",
            flush=True,
        )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
