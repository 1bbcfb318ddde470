"""Videos through OpenCV's writer, which has one fixed rate: images are repeated or dropped to fit their times."""

from __future__ import annotations

import itertools
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeseg.core.silence import native_output
from edgeseg.errors import InputError
from edgeseg.runtime.cameras.capture import quiet_ffmpeg
from edgeseg.runtime.cameras.decoded import INSTALL

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import cv2
    import numpy as np
    from numpy.typing import NDArray

_log = logging.getLogger(__name__)

CODECS = {".mp4": ("avc1", "mp4v"), ".mkv": ("avc1", "mp4v", "MJPG"), ".avi": ("MJPG", "mp4v")}
MEASURED = 10
"""Number of a live source's images from which the file's rate is chosen."""
H264_FOURCC = "avc1"


@dataclass(frozen=True, slots=True)
class Timed:
    """An image (H, W, 3) BGR and its time in the video in seconds."""

    image: NDArray[np.uint8]
    time_s: float


class OpenCvWriter:
    """Writes images of one size (height, width); with `live`, `fps` is only the maximum rate."""

    def __init__(self, path: Path, *, size: tuple[int, int], fps: float, live: bool) -> None:
        self._path = path
        self._size = size
        self._fps = fps
        self._first: list[Timed] | None = [] if live else None
        self._timeline = Timeline(fps)
        self._writer: cv2.VideoWriter | None = None
        self.notice = "OpenCV crops odd sizes to even ones." if any(side % 2 for side in size) else ""
        if not live:
            self._writer = self._open()

    def write(self, image: NDArray[np.uint8], time_s: float) -> None:
        """Append an image."""
        timed = Timed(image, time_s)
        if self._first is None:
            self._append(self._timeline.due(timed))
            return
        self._first.append(timed)
        if len(self._first) == MEASURED:
            self._start()

    def close(self) -> None:
        """Finish the file."""
        if self._first:
            self._start()
        self._append(self._timeline.rest())
        if self._writer is not None:
            self._writer.release()
            self._writer = None

    def _start(self) -> None:
        assert self._first is not None
        images, self._first = self._first, None
        self._fps = _rate_of([timed.time_s for timed in images], highest=self._fps)
        self._timeline = Timeline(self._fps)
        self._writer = self._open()
        for timed in images:
            self._append(self._timeline.due(timed))

    def _append(self, images: Iterator[Timed]) -> None:
        for timed in images:
            assert self._writer is not None
            self._writer.write(timed.image)

    def _open(self) -> cv2.VideoWriter:
        import cv2

        quiet_ffmpeg()
        suffix, (height, width) = self._path.suffix.lower(), self._size
        for codec in CODECS[suffix]:
            with native_output(_log):
                writer = cv2.VideoWriter(str(self._path), cv2.VideoWriter.fourcc(*codec), self._fps, (width, height))
            if writer.isOpened():
                if codec != H264_FOURCC and suffix != ".avi":
                    self.notice += (
                        "This OpenCV has no H.264 encoder: browsers and phones will not play this, and it is lost "
                        f"if the run is killed. {INSTALL} has one."
                    )
                return writer
        raise InputError(f"{self._path}: OpenCV here cannot write it. Try .avi, or another folder.")


class Timeline:
    """Assigns images to the frames of a fixed-rate file: each frame shows the newest image at its time."""

    def __init__(self, fps: float) -> None:
        self._fps = fps
        self._zero_s = 0.0
        self._written = 0
        self._held: Timed | None = None

    def due(self, timed: Timed) -> Iterator[Timed]:
        """Take the next image; yield the previous one as often as it is due."""
        held, self._held = self._held, timed
        if held is None:
            self._zero_s = timed.time_s
            return
        places = round((timed.time_s - self._zero_s) * self._fps)
        while self._written < places:
            self._written += 1
            yield held

    def rest(self) -> Iterator[Timed]:
        """Yield the last image, once."""
        if self._held is not None:
            yield self._held
            self._held = None


def _rate_of(times_s: list[float], *, highest: float) -> float:
    """Return the rate (frames per second) from the median interval; `highest` for a single frame."""
    distances = sorted(after - before for before, after in itertools.pairwise(times_s))
    middle_s = distances[len(distances) // 2] if distances else 0.0
    return max(1.0, min(highest, 1 / middle_s)) if middle_s > 0 else highest
