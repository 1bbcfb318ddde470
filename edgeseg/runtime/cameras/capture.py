"""OpenCV's VideoCapture, opened quietly and with time limits."""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING

from edgeseg.core.silence import native_output
from edgeseg.errors import CameraError
from edgeseg.runtime.cameras.feed import CameraImage

if TYPE_CHECKING:
    from collections.abc import Callable

    import cv2
    import numpy as np

_log = logging.getLogger(__name__)

DEFAULT_FPS = 30.0
FASTEST_FPS = 1000.0


def quiet_ffmpeg() -> None:
    """Silence FFmpeg inside OpenCV; it reads the level once, at its first use. A level set by the user stays."""
    if "OPENCV_FFMPEG_LOGLEVEL" not in os.environ:
        # Without the second one the level is not read at all.
        os.environ.update(OPENCV_FFMPEG_LOGLEVEL="-8", OPENCV_FFMPEG_DEBUG="1")


def open_capture(source: str | int, *, backend: int, parameters: dict[int, int]) -> cv2.VideoCapture | None:
    """Return an opened capture, or None if the source does not open; neither OpenCV nor FFmpeg prints anything."""
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


def resized_image(image: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
    """Return the image at `size` (height, width), or as it is where that is None."""
    import cv2

    if size is None or image.shape[:2] == size:
        return image
    shrinks = size[0] < image.shape[0]
    return cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


class CaptureFeed:
    """A capture that `connect` opens, read in this process.

    A read inside OpenCV cannot be interrupted: only the driver's own time limit ends it.
    """

    def __init__(self, connect: Callable[[], cv2.VideoCapture], *, name: str) -> None:
        self.fps: float | None = None
        self._connect = connect
        self._name = name
        self._capture: cv2.VideoCapture | None = None

    def open(self) -> None:
        """Open the capture; raises what `connect` does."""
        self._capture = self._connect()
        self.fps = rate_of(self._capture)

    def read(self) -> CameraImage | None:
        """Return the next image, None for one that cannot be decoded."""
        import cv2

        try:
            if self._capture is None or not self._capture.grab():
                raise CameraError(f"{self._name}: stopped sending frames. Is the source still there?")
            captured_s = time.monotonic()
            good, image = self._capture.retrieve()
        except cv2.error as error:
            raise CameraError(f"{self._name}: stopped sending frames: {error.err or error}.") from None
        return CameraImage(image=image, captured_s=captured_s) if good and image is not None else None

    def interrupt(self) -> None:
        """Do nothing: a read in a driver ends by itself."""

    def close(self) -> None:
        """Release the capture."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None
