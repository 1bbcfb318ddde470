"""A drive through synthetic streets, with the labels that it was painted from."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import count
from types import TracebackType

import numpy as np

from edgeseg.core.protocols import Camera, Frame
from edgeseg.errors import CameraError, InputError
from edgeseg.runtime.cameras.newest import Newest
from edgeseg.runtime.cameras.source import Request

SIZE = (360, 480)
FPS = 30.0


class SyntheticSource:
    """`synthetic`, `synthetic:7`, `synthetic:7?live=1`."""

    schemes = ("synthetic",)

    def camera(self, request: Request) -> Camera:
        """Return a street camera: endless and as fast as asked, or live at its rate with `live=1`."""
        seed, options = request.options("live")
        live = options.get("live", "0")
        if not (seed == "" or seed.isdecimal()) or live not in ("0", "1"):
            raise InputError(f"{request.uri}: write it as synthetic, synthetic:SEED or synthetic:SEED?live=1.")
        kind = LiveStreet if live == "1" else Street
        return kind(int(seed or 0), size=request.size or SIZE, fps=request.fps or FPS)


class Street:
    """Frames as fast as they are asked for, none left out, without end."""

    live = False
    skipped = 0

    def __init__(self, seed: int, *, size: tuple[int, int], fps: float) -> None:
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
            image, labels = video.frame(index)
            yield Frame(index=index, image=image, captured_s=time.monotonic(), labels=labels, classes=CLASSES)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class LiveStreet:
    """Frames at the rate of a camera, whether somebody takes them or not."""

    live = True

    def __init__(self, seed: int, *, size: tuple[int, int], fps: float) -> None:
        self.fps = fps
        self._street = Street(seed, size=size, fps=fps)
        self._newest: Newest | None = None

    @property
    def skipped(self) -> int:
        """Frames that nobody took in time."""
        return self._newest.skipped if self._newest else 0

    def __enter__(self) -> LiveStreet:
        from edgeseg.data.streets import CLASSES

        frames = self._street.frames()
        start_s = time.monotonic()

        def read() -> tuple[np.ndarray, np.ndarray | None]:
            frame = next(frames)
            time.sleep(max(0.0, start_s + frame.index / self.fps - time.monotonic()))
            return frame.image, frame.labels

        release = frames.close  # type: ignore[attr-defined]
        self._newest = Newest(read, release=release, name="synthetic", classes=CLASSES)
        self._newest.start()
        return self

    def frames(self) -> Iterator[Frame]:
        """Yield the newest frame each time."""
        if self._newest is None:
            raise CameraError("synthetic: is not open. Use it in a with block.")
        return self._newest.frames()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._newest is not None:
            self._newest.close()


CAMERA = SyntheticSource()
