"""The newest frame of a live source: a thread grabs every frame and keeps the last, so that none is shown late."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import numpy as np

from edgeseg.core.protocols import Frame
from edgeseg.errors import CameraError

Picture = tuple[np.ndarray, "np.ndarray | None"]
STALL_S = 5.0
"""A live source that gives nothing for this long is taken for dead."""


class Newest:
    """A thread that calls `read` for (picture, labels or None) until it returns None, and holds the newest frame.

    `read` and `release` are called from that thread only. `read` must come back by itself within `stall_s`.
    """

    def __init__(
        self,
        read: Callable[[], Picture | None],
        *,
        release: Callable[[], None],
        name: str,
        stall_s: float = STALL_S,
        classes: tuple[str, ...] = (),
    ) -> None:
        self.skipped = 0
        self._read = read
        self._release = release
        self._name = name
        self._classes = classes
        self._stall_s = stall_s
        self._changed = threading.Condition()
        self._frame: Frame | None = None
        self._ended = False
        self._closing = False
        self._fault: BaseException | None = None
        self._thread = threading.Thread(target=self._grab, name="edgeseg-grabber", daemon=True)

    def start(self) -> None:
        """Begin to grab."""
        self._thread.start()

    def frames(self) -> Iterator[Frame]:
        """Yield the newest frame each time, waiting for one where none is new; ends when the source is closed.

        Raises:
            CameraError: the source ended, failed, or gave nothing for `stall_s` seconds.
        """
        while (frame := self._take()) is not None:
            yield frame

    def close(self) -> None:
        """Stop the thread and wait for it; a read that hangs in a driver is left behind and not waited for longer."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout=self._stall_s + 1)

    def _take(self) -> Frame | None:
        deadline = time.monotonic() + self._stall_s
        with self._changed:
            while self._frame is None and not self._ended and not self._closing:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    raise CameraError(f"{self._name}: no frame for {self._stall_s:.0f} s. Is the source still there?")
                self._changed.wait(left_s)
            frame, self._frame = self._frame, None
            if self._closing:
                return None
            if frame is None:
                raise self._end()
            return frame

    def _end(self) -> BaseException:
        if self._fault is not None:
            return self._fault
        return CameraError(f"{self._name}: stopped giving frames. Is the source still there?")

    def _grab(self) -> None:
        index = 0
        try:
            while not self._closing and (picture := self._read()) is not None:
                image, labels = picture
                now_s = time.monotonic()
                self._put(Frame(index=index, image=image, captured_s=now_s, labels=labels, classes=self._classes))
                index += 1
        except Exception as error:  # it is raised again where the frames are asked for
            self._fault = error
        finally:
            self._release()
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _put(self, frame: Frame) -> None:
        with self._changed:
            if self._frame is not None and not self._closing:
                self.skipped += 1
            self._frame = frame
            self._changed.notify_all()
