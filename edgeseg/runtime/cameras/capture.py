"""OpenCV's VideoCapture, opened quietly and with time limits."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from edgeseg.core.chatter import native_output
from edgeseg.core.protocols import Frame
from edgeseg.errors import CameraError
from edgeseg.runtime.cameras.newest import Newest

if TYPE_CHECKING:
    import cv2

_log = logging.getLogger(__name__)

DEFAULT_FPS = 30.0
FASTEST_FPS = 1000.0


def quiet_ffmpeg() -> None:
    """Let FFMPEG inside OpenCV print nothing; it asks once, at its first use. A level that a person set stays."""
    if "OPENCV_FFMPEG_LOGLEVEL" not in os.environ:
        # Without the second one the level is not even read.
        os.environ.update(OPENCV_FFMPEG_LOGLEVEL="-8", OPENCV_FFMPEG_DEBUG="1")


def open_capture(source: str | int, *, backend: int, parameters: dict[int, int]) -> cv2.VideoCapture | None:
    """Return an opened capture, or None where the source does not open; neither OpenCV nor FFMPEG prints a word."""
    quiet_ffmpeg()
    import cv2

    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        with native_output(_log):
            capture = cv2.VideoCapture(source, backend, [value for pair in parameters.items() for value in pair])
    except cv2.error:
        return None
    finally:
        cv2.utils.logging.setLogLevel(level)
    if not capture.isOpened():
        capture.release()
        return None
    return capture


def rate_of(capture: cv2.VideoCapture) -> float:
    """Return the source's frames per second, or 30 where it does not know."""
    import cv2

    fps = float(capture.get(cv2.CAP_PROP_FPS))
    return fps if 0 < fps <= FASTEST_FPS else DEFAULT_FPS


def resized(image: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    """Return the picture at `size` (height, width), or as it is where that is None."""
    import cv2

    if size is None or image.shape[:2] == size:
        return image
    shrinks = size[0] < image.shape[0]
    return cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


class LiveCapture:
    """A live camera over a capture that `connect` opens: newest frame only, what was passed over is counted."""

    live = True

    def __init__(
        self,
        connect: Callable[[], cv2.VideoCapture],
        *,
        name: str,
        size: tuple[int, int] | None,
        fps: float | None,
        stall_s: float,
    ) -> None:
        self.fps = fps or DEFAULT_FPS
        self._connect = connect
        self._name = name
        self._size = size
        self._wished_fps = fps
        self._stall_s = stall_s
        self._newest: Newest | None = None

    @property
    def skipped(self) -> int:
        """Frames that came while the one before them was still waiting, and replaced it."""
        return self._newest.skipped if self._newest else 0

    def __enter__(self) -> LiveCapture:
        capture = self._connect()
        self.fps = self._wished_fps or rate_of(capture)

        def read() -> tuple[np.ndarray, None] | None:
            good, image = capture.read()
            return (resized(image, self._size), None) if good else None

        self._newest = Newest(read, release=capture.release, name=self._name, stall_s=self._stall_s)
        self._newest.start()
        return self

    def frames(self) -> Iterator[Frame]:
        """Yield the newest frame each time; raises `CameraError` where the source ends or stalls."""
        if self._newest is None:
            raise CameraError(f"{self._name}: is not open. Use it in a with block.")
        return self._newest.frames()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._newest is not None:
            self._newest.close()
