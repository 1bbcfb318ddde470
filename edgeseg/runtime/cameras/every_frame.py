"""Cameras that deliver every frame: files, folders, rendered streets."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from edgeseg.core.protocols import CameraCounts, Frame
from edgeseg.errors import CameraError
from edgeseg.runtime.cameras.capture import DEFAULT_FPS, resized_image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from edgeseg.runtime.cameras.decoded import Decoded, MediaReader


class EveryFrame:
    """Base of cameras that deliver every frame: counts frames, and stops between two of them."""

    live = False
    skipped = 0
    trouble = ""

    def __init__(self) -> None:
        self._given = self._corrupt = self._concealed = self._missing = 0
        self._damage = ""
        self._stopped = False

    @property
    def counts(self) -> CameraCounts:
        """What became of the frames so far."""
        return CameraCounts(
            captured=self._given + self._corrupt,
            delivered=self._given,
            corrupt=self._corrupt,
            concealed=self._concealed,
            missing=self._missing,
            damage=self._damage,
        )

    def stop(self) -> None:
        """End the frames."""
        self._stopped = True

    def _numbered(
        self, images: Iterator[Decoded | None], size: tuple[int, int] | None, *, rate: float | None = None
    ) -> Iterator[Frame]:
        """Yield the images as frames, at `rate` instead of their own times if given.

        A corrupt one (None) is counted, and its number is skipped.
        """
        for decoded in images:
            if self._stopped:
                return
            if decoded is None:
                self._corrupt += 1
                continue
            index = self._given + self._corrupt
            self._given += 1
            self._concealed += decoded.concealed
            yield Frame(
                index=index,
                image=resized_image(decoded.image, size),
                captured_s=time.monotonic(),
                media_s=index / rate if rate else decoded.media_s,
            )


class Recording(EveryFrame):
    """Every frame of a video that `connect` opens."""

    def __init__(
        self,
        connect: Callable[[], MediaReader],
        *,
        name: str,
        size: tuple[int, int] | None,
        fps: float | None,
    ) -> None:
        super().__init__()
        self.fps = fps or DEFAULT_FPS
        self._connect = connect
        self._name = name
        self._size = size
        self._wished_fps = fps
        self._reader: MediaReader | None = None

    def __enter__(self) -> Recording:
        self._reader = self._connect()
        self.fps = self._wished_fps or self._reader.fps or DEFAULT_FPS
        return self

    def frames(self) -> Iterator[Frame]:
        """Yield the frames from the current position; raises `CameraError` if there are none."""
        return self._numbered(self._images(), self._size, rate=self._wished_fps)

    def _images(self) -> Iterator[Decoded | None]:
        if self._reader is None:
            raise CameraError(f"{self._name}: is not open. Use it in a with block.")
        while not self._stopped:
            try:
                yield self._reader.read()
            except EOFError:
                break
        else:
            return
        self._missing = self._reader.missing()
        if not self._given:
            raise CameraError(f"{self._name}: opens as a video, but none of its frames can be decoded.")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None
