"""A stream that OpenCV's FFMPEG reads, in a program of its own that can be ended."""

from __future__ import annotations

import json
import sys
import time

import numpy as np

from edgeseg.errors import CameraError
from edgeseg.runtime.cameras import ffmpeg_child
from edgeseg.runtime.cameras.child import Child, start
from edgeseg.runtime.cameras.feed import OPEN_S, Image

OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
# UDP loses packets on Wi-Fi, and images tear; `nobuffer` keeps FFMPEG from queueing frames before ours.
LIVE_OPTIONS = "rtsp_transport;tcp|fflags;nobuffer|flags;low_delay"
LARGEST_SIDE = 1 << 15
START_S = 5.0
"""What the program itself may take to start on a slow board."""


class FfmpegFeed:
    """One connection to `uri`; `shown` is the address without its password."""

    def __init__(self, uri: str, *, shown: str, stall_s: float) -> None:
        self.fps: float | None = None
        self._uri = uri
        self._shown = shown
        self._stall_s = stall_s
        self._stopped = False
        self._child: Child | None = None

    def open(self) -> None:
        """Start the program; raises `CameraError` where the stream does not open."""
        asked = {"uri": self._uri, "open_ms": int(1000 * OPEN_S), "stall_ms": int(1000 * self._stall_s)}
        self._child = start(_command, name=self._shown, said_first=json.dumps(asked).encode() + b"\n")
        if self._stopped:
            self._child.kill()
        try:
            header = self._child.read(ffmpeg_child.HEADER.size, deadline_s=time.monotonic() + OPEN_S + START_S)
        except (EOFError, TimeoutError):
            raise CameraError(
                f"{self._shown}: does not open as a video stream. Is the address right, and is it sending now?"
            ) from None
        self.fps = ffmpeg_child.HEADER.unpack(header)[4]

    def read(self) -> Image | None:
        """Return the next image, or None for one that FFMPEG gave up on."""
        if self._child is None:
            raise CameraError(f"{self._shown}: was closed.")
        deadline_s = time.monotonic() + self._stall_s
        try:
            header = self._child.read(ffmpeg_child.HEADER.size, deadline_s=deadline_s)
            mark, height, width, captured_s, _ = ffmpeg_child.HEADER.unpack(header)
            if mark == ffmpeg_child.DAMAGED:
                return None
            assert mark == ffmpeg_child.MARK
            assert max(height, width) < LARGEST_SIDE
            pixels = self._child.read(height * width * 3, deadline_s=deadline_s)
        except TimeoutError:
            raise CameraError(f"{self._shown}: no image for {self._stall_s:g} s.") from None
        except EOFError:
            raise CameraError(f"{self._shown}: stopped giving frames. Is the source still there?") from None
        return Image(image=np.frombuffer(pixels, np.uint8).reshape(height, width, 3), captured_s=captured_s)

    def interrupt(self) -> None:
        """End the program."""
        self._stopped = True
        if (child := self._child) is not None:
            child.kill()

    def close(self) -> None:
        """End the program and close its pipes."""
        if self._child is not None:
            self._child.close()
            self._child = None


def _command(descriptor: int) -> list[str]:
    # The program must find the same packages as this one, wherever they lie.
    program = (
        f"import os, sys; sys.path[:] = {sys.path!r}; os.environ.setdefault({OPTIONS!r}, {LIVE_OPTIONS!r}); "
        "from edgeseg.runtime.cameras.ffmpeg_child import main; sys.exit(main(sys.argv[1:]))"
    )
    return [sys.executable, "-c", program, str(descriptor)]
