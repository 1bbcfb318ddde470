"""A drive through synthetic streets, with exact labels."""

from __future__ import annotations

import threading
import time
from itertools import count
from typing import TYPE_CHECKING

from edgeseg.core.protocols import Camera, Frame
from edgeseg.errors import CameraError, InputError
from edgeseg.runtime.cameras.every_frame import EveryFrame
from edgeseg.runtime.cameras.feed import CameraImage
from edgeseg.runtime.cameras.live import LiveCamera
from edgeseg.runtime.cameras.source import Request, SourceStatus

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

_SIZE = (360, 480)
_FPS = 30.0


class SyntheticSource:
    """`synthetic`, `synthetic:7`, `synthetic:7?live=1`."""

    schemes = ("synthetic",)

    def camera(self, request: Request) -> Camera:
        """Return a street camera: endless and as fast as frames are taken, or live at its rate with `live=1`."""
        request, own = request.options("live")
        seed, live = request.rest, own.get("live", "0")
        if not (seed == "" or seed.isdecimal()) or live not in ("0", "1"):
            raise InputError(f"{request.shown}: write it as synthetic, synthetic:SEED or synthetic:SEED?live=1.")
        size, fps = request.size or _SIZE, request.fps or _FPS
        if live == "0":
            return Street(int(seed or 0), size=size, fps=fps)
        from edgeseg.data.streets import CLASSES

        street = Street(int(seed or 0), size=size, fps=fps)
        return LiveCamera(lambda: StreetFeed(street), name="synthetic", fps=fps, classes=CLASSES)

    def status(self) -> SourceStatus:
        """Return that it always works."""
        return SourceStatus(uris=("synthetic", "synthetic:SEED?live=1"), works=True, detail="rendered, with labels")


class Street(EveryFrame):
    """Endless frames, as fast as they are taken, without gaps."""

    def __init__(self, seed: int, *, size: tuple[int, int], fps: float) -> None:
        super().__init__()
        self.fps = fps
        self._seed = seed
        self._size = size

    def __enter__(self) -> Street:
        return self

    def frames(self) -> Iterator[Frame]:
        """Yield one frame after the other."""
        from edgeseg.data.streets import CLASSES, StreetVideo

        video = StreetVideo(self._seed, size=self._size, fps=self.fps)
        for index in count():
            if self._stopped:
                return
            image, labels = video.frame(index)
            self._given += 1
            yield Frame(index=index, image=image, captured_s=time.monotonic(), labels=labels, classes=CLASSES)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class StreetFeed:
    """A street at the rate of a camera, whether its frames are taken or not."""

    def __init__(self, street: Street) -> None:
        self.fps: float | None = street.fps
        self._street = street
        self._frames: Iterator[Frame] = iter(())
        self._start_s = 0.0
        self._stopped = threading.Event()

    def open(self) -> None:
        """Begin the drive."""
        self._frames = self._street.frames()
        self._start_s = time.monotonic()

    def read(self) -> CameraImage:
        """Return the next frame at its time."""
        frame = next(self._frames)
        if self._stopped.wait(max(0.0, self._start_s + frame.index / self._street.fps - time.monotonic())):
            raise CameraError("synthetic: was closed.")
        return CameraImage(image=frame.image, labels=frame.labels, captured_s=time.monotonic())

    def interrupt(self) -> None:
        """End the wait for the next frame."""
        self._stopped.set()

    def close(self) -> None:
        """End the drive."""
        self._frames = iter(())


CAMERA = SyntheticSource()
