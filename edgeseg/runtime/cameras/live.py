"""A live camera: the newest frame of a feed that reconnects when lost."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from edgeseg.core.protocols import CameraCounts, Frame
from edgeseg.errors import CameraError
from edgeseg.runtime.cameras.capture import DEFAULT_FPS, resized_image
from edgeseg.runtime.cameras.feed import STALL_S, Feed, Reconnect
from edgeseg.runtime.cameras.newest import Newest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType


class LiveCamera:
    """The frames of the feeds that `make` gives, at `size` (height, width) if given."""

    live = True

    def __init__(
        self,
        make: Callable[[], Feed],
        *,
        name: str,
        size: tuple[int, int] | None = None,
        fps: float | None = None,
        reconnect: Reconnect | None = None,
        stall_s: float = STALL_S,
        classes: tuple[str, ...] = (),
    ) -> None:
        self.fps = fps or DEFAULT_FPS
        self._make = make
        self._name = name
        self._size = size
        self._wished_fps = fps
        self._reconnect = reconnect
        self._stall_s = stall_s
        self._classes = classes
        self._newest: Newest | None = None

    @property
    def skipped(self) -> int:
        """Frames that were replaced by a newer one before anyone took them."""
        return self.counts.skipped

    @property
    def counts(self) -> CameraCounts:
        """What became of the frames so far."""
        return self._newest.counts if self._newest else CameraCounts()

    @property
    def trouble(self) -> str:
        """Why no frame is coming now, or an empty text."""
        return self._newest.trouble if self._newest else ""

    def __enter__(self) -> LiveCamera:
        newest = Newest(
            self._make, name=self._name, stall_s=self._stall_s, reconnect=self._reconnect, classes=self._classes
        )
        self.fps = newest.start() or self.fps
        if self._wished_fps:
            self.fps = self._wished_fps
        self._newest = newest
        return self

    def frames(self) -> Iterator[Frame]:
        """Yield the newest frame each time; raises `CameraError` if the source is lost for good."""
        if self._newest is None:
            raise CameraError(f"{self._name}: is not open. Use it in a with block.")
        for frame in self._newest.frames():
            yield dataclasses.replace(frame, image=resized_image(frame.image, self._size))

    def stop(self) -> None:
        """End the frames at once; from any thread."""
        if self._newest is not None:
            self._newest.stop()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._newest is not None:
            self._newest.close()
