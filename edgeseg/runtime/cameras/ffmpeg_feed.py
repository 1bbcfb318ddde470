"""A stream that FFmpeg decodes in its own process, which can be ended at any moment."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
import time

import numpy as np

from edgeseg.errors import CameraError
from edgeseg.runtime.cameras import ffmpeg_child
from edgeseg.runtime.cameras.child import Child, start
from edgeseg.runtime.cameras.decoded import Decoded, MediaReader, Opening
from edgeseg.runtime.cameras.feed import OPEN_S, STALL_S, CameraImage
from edgeseg.runtime.cameras.media import open_media
from edgeseg.runtime.cameras.opencv_reader import COMPLAINT, black_words

_LARGEST_SIDE = 1 << 16
START_S = 5.0
"""Time for the process to start on a slow board."""


class FfmpegReader:
    """One connection to a stream or to a file on a server (a `MediaReader`)."""

    def __init__(self, opening: Opening) -> None:
        self.fps: float | None = None
        self._opening = dataclasses.replace(
            opening, open_s=opening.open_s or OPEN_S, stall_s=opening.stall_s or STALL_S
        )
        self._shown = opening.shown
        self._stopped = False
        self._missing = 0
        self._arrived_s = 0.0
        self._child: Child | None = None

    def open(self) -> FfmpegReader:
        """Start the program and return this reader; raises `CameraError` where the stream does not open."""
        asked = json.dumps(dataclasses.asdict(self._opening)).encode() + b"\n"
        self._child = start(_command, name=self._shown, stdin_text=asked)
        if self._stopped:
            self._child.kill()
        assert self._opening.open_s is not None
        try:
            self.fps = self._header(time.monotonic() + self._opening.open_s + START_S)[3] or None
        except EOFError:
            raise self._ended() from None
        except CameraError as error:
            raise CameraError(f"{error} Is the address right, and is it sending now?") from None
        return self

    def read(self) -> Decoded | None:
        """Return the next image, None for a corrupt one; raises `EOFError` at the end, `CameraError` when lost."""
        assert self._opening.stall_s is not None
        deadline_s = time.monotonic() + self._opening.stall_s
        try:
            mark, (height, width), media_s, _ = self._header(deadline_s)
            assert max(height, width) < _LARGEST_SIDE or mark == ffmpeg_child.ENDED
            pixels = self._bytes(height * width * 3, deadline_s)
        except EOFError:  # it says so at the video's end: it crashed, or was ended by somebody
            raise self._ended() from None
        if mark == ffmpeg_child.ENDED:
            self._missing = height
            raise EOFError
        if mark == ffmpeg_child.DAMAGED:
            return None
        return Decoded(
            image=np.frombuffer(pixels, np.uint8).reshape(height, width, 3),
            media_s=None if math.isnan(media_s) else media_s,
            concealed=mark == ffmpeg_child.CONCEALED,
        )

    @property
    def arrived_s(self) -> float:
        """When the last image arrived, in `time.monotonic` seconds."""
        return self._arrived_s

    def missing(self) -> int:
        """Return how many frames that the container announced were missing."""
        return self._missing

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

    def _ended(self) -> CameraError:
        words = "" if self._child is None else self._child.final_output().strip()[-300:]
        return CameraError(f"{self._shown}: its reader ended{': ' if words else '.'}{words}")

    def _header(self, deadline_s: float) -> tuple[bytes, tuple[int, int], float, float]:
        header = self._bytes(ffmpeg_child.HEADER.size, deadline_s)
        mark, height, width, self._arrived_s, media_s, fps = ffmpeg_child.HEADER.unpack(header)
        if mark == ffmpeg_child.FAILED:
            raise CameraError(self._bytes(height, deadline_s).decode(errors="replace"))
        assert self._child is not None
        if COMPLAINT in self._child.output_so_far():
            raise CameraError(f"{self._shown}: {black_words()}")
        return mark, (height, width), media_s, fps

    def _bytes(self, size: int, deadline_s: float) -> bytearray:
        if self._child is None:
            raise CameraError(f"{self._shown}: was closed.")
        begin_s = time.monotonic()
        try:
            return self._child.read(size, deadline_s=deadline_s)
        except TimeoutError:
            raise CameraError(f"{self._shown}: no image for {deadline_s - begin_s:.0f} s.") from None


class FfmpegFeed:
    """One connection to a live stream."""

    def __init__(self, opening: Opening) -> None:
        self.fps: float | None = None
        self._shown = opening.shown
        self._reader = FfmpegReader(opening)

    def open(self) -> None:
        """Connect; raises `CameraError` where the stream does not open."""
        self.fps = self._reader.open().fps

    def read(self) -> CameraImage | None:
        """Return the next image, or None for a corrupt one; raises `CameraError` where the stream is lost."""
        try:
            decoded = self._reader.read()
        except EOFError:
            raise CameraError(f"{self._shown}: stopped sending frames. Is the source still there?") from None
        if decoded is None:
            return None
        return CameraImage(image=decoded.image, captured_s=self._reader.arrived_s, concealed=decoded.concealed)

    def interrupt(self) -> None:
        """End the program."""
        self._reader.interrupt()

    def close(self) -> None:
        """End the program and close its pipes."""
        self._reader.close()


class MediaFeed:
    """The same in this process, for systems that cannot wait on pipes; FFmpeg's own time limits end a read."""

    def __init__(self, opening: Opening) -> None:
        self.fps: float | None = None
        self._opening = opening
        self._reader: MediaReader | None = None

    def open(self) -> None:
        """Connect; raises `CameraError` where the stream does not open."""
        self._reader = open_media(self._opening)
        self.fps = self._reader.fps

    def read(self) -> CameraImage | None:
        """Return the next image, or None for a corrupt one; raises `CameraError` where the stream is lost."""
        if self._reader is None:
            raise CameraError(f"{self._opening.shown}: was closed.")
        try:
            decoded = self._reader.read()
        except EOFError:
            raise CameraError(f"{self._opening.shown}: stopped sending frames. Is the source still there?") from None
        if decoded is None:
            return None
        return CameraImage(image=decoded.image, captured_s=time.monotonic(), concealed=decoded.concealed)

    def interrupt(self) -> None:
        """Do nothing: FFmpeg's own limits end a read."""

    def close(self) -> None:
        """Release the decoder."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None


def _command(descriptor: int) -> list[str]:
    # The child must find the same packages as this process. Its outputs are read: FFmpeg may complain there.
    program = (
        f"import os, sys; sys.path[:] = {sys.path!r}; "
        "os.environ.update(OPENCV_FFMPEG_LOGLEVEL='16', OPENCV_FFMPEG_DEBUG='1'); "
        "from edgeseg.runtime.cameras.ffmpeg_child import main; sys.exit(main(sys.argv[1:]))"
    )
    return [sys.executable, "-c", program, str(descriptor)]
