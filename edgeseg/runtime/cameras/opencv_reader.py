"""OpenCV's VideoCapture as a reader of videos, checked before it is trusted."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np

from edgeseg.errors import CameraError
from edgeseg.runtime.cameras.capture import open_capture, rate_of
from edgeseg.runtime.cameras.decoded import (
    FAILURES_IN_A_ROW,
    INSTALL,
    LIVE_OPTIONS,
    OPTIONS,
    Decoded,
    MediaClock,
    Opening,
    refuse_giant,
)

if TYPE_CHECKING:
    import cv2

FIRST_BROKEN_AVCODEC = 62
"""FFmpeg 8, in OpenCV 4.13 and later: its swscale does not convert interlaced frames the way OpenCV asks it to."""
TEST_FRAMES = 3
TEST_S = 20.0
COMPLAINT = "Cannot convert interlaced"


class OpenCvReader:
    """One opened video. OpenCV gives no reason for a failed frame, so announced and delivered frames are compared."""

    def __init__(self, opening: Opening) -> None:
        import cv2

        if opening.live:
            os.environ.setdefault(OPTIONS, LIVE_OPTIONS)
        self._shown = opening.shown
        self._live = opening.live
        parameters = {cv2.CAP_PROP_N_THREADS: opening.threads}
        if opening.open_s is not None:
            parameters[cv2.CAP_PROP_OPEN_TIMEOUT_MSEC] = int(1000 * opening.open_s)
        if opening.stall_s is not None:
            parameters[cv2.CAP_PROP_READ_TIMEOUT_MSEC] = int(1000 * opening.stall_s)
        capture = open_capture(opening.uri, backend=cv2.CAP_FFMPEG, parameters=parameters)
        if capture is None:
            raise CameraError(
                f"{opening.shown}: does not open as a video: damaged, empty, or not a known kind of video."
            )
        self._capture: cv2.VideoCapture = capture
        self.fps: float | None = rate_of(capture)
        self._read = self._corrupt = self._owed = 0
        self._held: Decoded | None = None
        self._clock = MediaClock(fps=self.fps)
        self._announced = 0 if opening.live else max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        try:
            refuse_giant(
                int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)),
                int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)),
                shown=opening.shown,
            )
            if not opening.live and turns_interlaced_black():
                refuse_black_frames(opening)
        except CameraError:
            capture.release()
            raise

    def read(self) -> Decoded | None:
        """Return the next image, None for a corrupt one; raises `EOFError` at the end."""
        if self._owed:
            self._owed -= 1
            return None
        if self._held is not None:
            held, self._held = self._held, None
            return held
        failures = 0
        while not self._capture.grab():
            failures += 1
            if failures == FAILURES_IN_A_ROW or self._read + self._corrupt + failures >= self._announced:
                raise EOFError
        decoded = self._retrieved()
        corrupt = failures + (decoded is None)
        if not corrupt:
            return decoded
        self._corrupt, self._owed, self._held = self._corrupt + corrupt, corrupt - 1, decoded
        return None

    def missing(self) -> int:
        """Return how many announced frames were not there; an estimated count may be one too high."""
        missing = self._announced - self._read - self._corrupt
        return missing if missing > 1 else 0

    def close(self) -> None:
        """Release the decoder."""
        self._capture.release()

    def _retrieved(self) -> Decoded | None:
        import cv2

        media_s = None if self._live else self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        good, image = self._capture.retrieve()
        if not good or image is None:
            return None
        self._read += 1
        time_s = None if media_s is None else self._clock.shown(media_s)
        return Decoded(image=np.asarray(image, np.uint8), media_s=time_s)


def turns_interlaced_black() -> bool:
    """Return whether OpenCV's FFmpeg turns interlaced video black."""
    import cv2

    found = re.search(r"avcodec:\s+YES \((\d+)\.", cv2.getBuildInformation())
    return found is not None and int(found[1]) >= FIRST_BROKEN_AVCODEC


def refuse_black_frames(opening: Opening) -> None:
    """Raise `CameraError` where OpenCV opens a video but gives black frames.

    OpenCV reports such a frame as good; only FFmpeg's messages on the process's outputs show it. So a separate process
    decodes the first frames.
    """
    program = (
        "import json, os, sys; sys.path[:] = json.loads(sys.argv[1]); "
        "os.environ.update(OPENCV_FFMPEG_LOGLEVEL='16', OPENCV_FFMPEG_DEBUG='1'); import cv2; "
        "capture = cv2.VideoCapture(sys.stdin.readline().rstrip('\\n'), cv2.CAP_FFMPEG); "
        f"[capture.read() for _ in range({TEST_FRAMES})]"
    )
    try:
        done = subprocess.run(
            [sys.executable, "-c", program, json.dumps(sys.path)],
            input=opening.uri + "\n",
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TEST_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CameraError(f"{opening.shown}: the test of its first frames did not finish: {error}.") from None
    if COMPLAINT in done.stdout + done.stderr:
        raise CameraError(f"{opening.shown}: {black_words()}")


def black_words() -> str:
    """Return the message for interlaced video that this OpenCV cannot decode."""
    import cv2

    return f"is interlaced, and OpenCV {cv2.__version__} decodes that to black images. To read it: {INSTALL}."
