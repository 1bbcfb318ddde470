"""The age of a frame when a slow consumer is done with it: edgeseg's camera against a plain `VideoCapture.read` loop.

Usage: python benchmarks/freshness.py [--rtsp] [--seconds 60] [--work-ms 100] [--fps 30]
A numbered camera on this machine sends 30 frames a second: MJPEG over HTTP (tests/contracts/mjpeg_server.py) or, with
--rtsp, H.264 (tests/contracts/rtsp_server.py; it needs GStreamer's RTSP server library). The consumer sleeps 100 ms per
frame in place of a net. Each frame shows its number, so its age is known to within a frame, whatever queue it waited
in. Both run at the same time, each on its own connection. Prints one line each.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import threading
import time
from pathlib import Path

import numpy as np

from edgeseg.runtime import open_camera

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from typing import TYPE_CHECKING

from contracts.mjpeg_server import MjpegServer, number_in
from contracts.rtsp_camera import RtspCamera

if TYPE_CHECKING:
    from collections.abc import Iterator


def ours(uri: str, end_s: float) -> Iterator[np.ndarray]:
    """Yield images as the camera loop gets them; at the end, print the fate of every frame."""
    with open_camera(uri) as camera:
        for frame in camera.frames():
            yield frame.image
            if time.monotonic() > end_s:
                break
        counts = camera.counts
    accounted = counts.delivered + counts.skipped + counts.corrupt + counts.waiting
    print(f"edgeseg: {counts}; {counts.captured - accounted} frames unaccounted for")


def plain(uri: str, end_s: float) -> Iterator[np.ndarray]:
    """Yield images as in the usual tutorial."""
    import cv2

    capture = cv2.VideoCapture(uri, cv2.CAP_FFMPEG)
    while time.monotonic() < end_s:
        good, image = capture.read()
        if not good:
            break
        yield image
    capture.release()


def ages_s(images: Iterator[np.ndarray], server: MjpegServer | RtspCamera, work_s: float) -> list[float]:
    """Return each image's age when it has been processed."""
    found = []
    for image in images:
        time.sleep(work_s)
        number = number_in(image)
        if number is not None:
            found.append(server.age_s(number))
    return found


def main() -> None:
    """Measure both at once and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rtsp", action="store_true")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--work-ms", type=float, default=100)
    parser.add_argument("--fps", type=int, default=30)
    options = parser.parse_args()
    results: dict[str, list[float]] = {}

    with contextlib.ExitStack() as opened:
        server: MjpegServer | RtspCamera
        if options.rtsp:
            server = RtspCamera(fps=options.fps)
            if not server.start():
                parser.error(
                    "--rtsp needs GStreamer's RTSP server library for the system's Python (gir1.2-gst-rtsp-server-1.0)."
                )
            opened.callback(server.stop)
            uri = server.uri("/numbered")
        else:
            server = opened.enter_context(MjpegServer(fps=options.fps))
            uri = server.uri()
        end_s = time.monotonic() + options.seconds
        loops = {"edgeseg": ours(uri, end_s), "plain read loop": plain(uri, end_s)}

        def measure(name: str) -> None:
            results[name] = ages_s(loops[name], server, options.work_ms / 1000)

        threads = [threading.Thread(target=measure, args=(name,)) for name in loops]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for name, ages in results.items():
        p50, p90 = np.percentile(ages, [50, 90])
        print(
            f"{name}: {len(ages)} frames in {options.seconds:g} s, "
            f"age p50 {1000 * p50:.0f} ms, p90 {1000 * p90:.0f} ms, last {1000 * ages[-1]:.0f} ms"
        )


if __name__ == "__main__":
    main()
