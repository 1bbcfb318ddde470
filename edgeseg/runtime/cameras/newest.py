"""The newest frame of a live source: a thread reads every frame and keeps the last one, so that none is shown late."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from edgeseg.core.protocols import CameraCounts, Frame
from edgeseg.errors import CameraError, EdgesegError
from edgeseg.runtime.cameras.feed import OPEN_S, STALL_S, CameraImage, Feed, Reconnect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_log = logging.getLogger(__name__)

_JOIN_S = 2.0
# Waits time out now and then: on Windows a thread that waits forever does not see Ctrl-C.
_WAKE_S = 0.5


class Newest:
    """A thread that reads a feed, holds the newest frame, and connects again when the feed is lost."""

    def __init__(
        self,
        make: Callable[[], Feed],
        *,
        name: str,
        stall_s: float = STALL_S,
        reconnect: Reconnect | None = None,
        classes: tuple[str, ...] = (),
    ) -> None:
        self.trouble = ""
        self._make = make
        self._name = name
        self._stall_s = stall_s
        self._reconnect = reconnect or Reconnect()
        self._classes = classes
        self._feed = make()
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._frame: Frame | None = None
        self._is_concealed = False  # the frame that is held
        self._captured = self._delivered = self._skipped = self._corrupt = self._reconnects = self._concealed = 0
        self._ended = False
        self._fault: BaseException | None = None
        self._last_good_s = 0.0
        self._pause_s = self._reconnect.first_s
        self._thread = threading.Thread(target=self._grab, name="edgeseg-grabber", daemon=True)

    @property
    def counts(self) -> CameraCounts:
        """What became of the frames so far."""
        with self._changed:
            return CameraCounts(
                captured=self._captured,
                delivered=self._delivered,
                skipped=self._skipped,
                corrupt=self._corrupt,
                waiting=int(self._frame is not None),
                reconnects=self._reconnects,
                concealed=self._concealed,
            )

    def start(self) -> float | None:
        """Connect, start reading, and return the feed's rate, None if unknown; raises what `open` does."""
        try:
            self._feed.open()
        except BaseException:
            self._feed.close()
            raise
        self._last_good_s = time.monotonic()
        self._thread.start()
        return self._feed.fps

    def frames(self) -> Iterator[Frame]:
        """Yield the newest frame each time, waiting for a new one; ends when the source is closed.

        Raises:
            CameraError: the source was lost and did not come back in time.
        """
        while (frame := self._take()) is not None:
            yield frame

    def stop(self) -> None:
        """End the frames at once; from any thread."""
        self._closing.set()
        self._feed.interrupt()
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """Stop the thread and wait for it; a read that hangs in a driver is abandoned."""
        self.stop()
        if self._thread.ident is not None:
            self._thread.join(timeout=_JOIN_S)
            if self._thread.is_alive():
                _log.warning("%s: a read does not return; its thread was abandoned.", self._name)
        with self._changed:
            self._skipped += self._frame is not None
            self._frame = None

    def _take(self) -> Frame | None:
        # The reading thread gives up by itself; this limit is for a driver that never returns.
        limit_s = self._reconnect.give_up_s + self._stall_s + 2 * OPEN_S
        deadline_s = time.monotonic() + limit_s
        with self._changed:
            while self._frame is None and not self._ended and not self._closing.is_set():
                left_s = deadline_s - time.monotonic()
                if left_s <= 0:
                    raise CameraError(f"{self._name}: no frame for {limit_s:.0f} s; the driver hangs.")
                self._changed.wait(min(_WAKE_S, left_s))
            frame, self._frame = self._frame, None
            if self._closing.is_set():
                self._skipped += frame is not None
                return None
            if frame is not None:
                self._delivered += 1
                self._concealed += self._is_concealed
                return frame
        if self._fault is not None:
            raise self._fault
        return None

    def _grab(self) -> None:
        try:
            while not self._closing.is_set():
                try:
                    self._keep(self._feed.read())
                except CameraError as fault:
                    self._again(fault)
        except Exception as error:  # noqa: BLE001 - raised again by `frames`, in the caller's thread
            self._fault = error
        finally:
            self._feed.close()
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _keep(self, image: CameraImage | None) -> None:
        with self._changed:
            self._captured += 1
            if image is None:
                self._corrupt += 1
            else:
                self._captured += image.passed
                self._skipped += image.passed + (self._frame is not None)
                self._frame = Frame(
                    index=self._captured - 1,
                    image=image.image,
                    captured_s=image.captured_s,
                    labels=image.labels,
                    classes=self._classes,
                )
                self._is_concealed = image.concealed
                self._changed.notify_all()
        if image is not None:
            self._last_good_s, self._pause_s, self.trouble = time.monotonic(), self._reconnect.first_s, ""
        elif time.monotonic() > self._last_good_s + self._stall_s:
            raise CameraError(f"{self._name}: sends only damaged images.")

    def _again(self, fault: EdgesegError) -> None:
        """Reconnect, or return when closing; raises `CameraError` when it is time to give up."""
        self._feed.close()
        tries = 0
        while not self._closing.is_set():
            left_s = self._last_good_s + self._reconnect.give_up_s - time.monotonic()
            if left_s <= 0:
                raise _given_up(fault, tries=tries, silent_s=time.monotonic() - self._last_good_s)
            self.trouble = f"{fault} Reconnecting."
            if tries == 0:
                _log.warning("%s", self.trouble)
            if self._closing.wait(min(self._pause_s, left_s)):
                return
            self._pause_s = min(2 * self._pause_s, self._reconnect.longest_s)
            tries += 1
            try:
                self._connect()
            except EdgesegError as again:
                fault = again
                continue
            self._reconnects += 1
            return

    def _connect(self) -> None:
        feed = self._make()
        self._feed = feed
        if self._closing.is_set():  # `stop` interrupted the feed before this one
            return
        try:
            feed.open()
        except BaseException:
            feed.close()
            raise


def _given_up(fault: EdgesegError, *, tries: int, silent_s: float) -> CameraError:
    if tries == 0:
        return CameraError(str(fault))
    times = "once" if tries == 1 else f"{tries} times"
    return CameraError(f"{fault} Tried to reconnect {times}; no image for {silent_s:.0f} s: giving up.")
