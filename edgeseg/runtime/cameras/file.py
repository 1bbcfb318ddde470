"""Video files and folders of pictures: every frame, in order, as fast as it is asked for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from edgeseg.core.protocols import Camera, Frame
from edgeseg.errors import CameraError, InputError
from edgeseg.runtime.cameras.capture import DEFAULT_FPS, open_capture, rate_of, resized
from edgeseg.runtime.cameras.source import Request

if TYPE_CHECKING:
    import cv2

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm")


class FileSource:
    """`clip.mp4`, `pictures/` or `file:clip.mp4`."""

    schemes = ("file",)

    def camera(self, request: Request) -> Camera:
        """Return a camera on a file or folder; raises `InputError` where it is not there or holds no picture."""
        path = Path(request.rest.removeprefix("//") if request.uri.startswith("file:") else request.rest)
        if path.is_dir():
            return PictureFolder(_pictures(path), size=request.size, fps=request.fps or DEFAULT_FPS)
        if not path.is_file():
            raise InputError(f"{path}: no such file or folder.")
        if path.suffix.lower() in PICTURES:
            return PictureFolder((path,), size=request.size, fps=request.fps or DEFAULT_FPS)
        return VideoFile(path, size=request.size, fps=request.fps)


def _pictures(folder: Path) -> tuple[Path, ...]:
    found = tuple(sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES))
    if not found:
        raise InputError(f"{folder}: holds no picture ({', '.join(PICTURES)}).")
    return found


class VideoFile:
    """Every frame of a video file."""

    live = False
    skipped = 0

    def __init__(self, path: Path, *, size: tuple[int, int] | None, fps: float | None) -> None:
        self.fps = fps or DEFAULT_FPS
        self._path = path
        self._size = size
        self._wished_fps = fps
        self._capture: cv2.VideoCapture | None = None

    def __enter__(self) -> VideoFile:
        import cv2

        self._capture = open_capture(str(self._path), backend=cv2.CAP_FFMPEG, parameters={})
        if self._capture is None:
            raise CameraError(f"{self._path}: cannot be read as a video: damaged, empty, or of an unknown kind.")
        self.fps = self._wished_fps or rate_of(self._capture)
        return self

    def frames(self) -> Iterator[Frame]:
        """Yield the frames from where the file stands; raises `CameraError` where it holds none."""
        if self._capture is None:
            raise CameraError(f"{self._path}: is not open. Use it in a with block.")
        index = 0
        while True:
            good, image = self._capture.read()
            if not good:
                break
            yield Frame(index=index, image=resized(image, self._size), captured_s=time.monotonic())
            index += 1
        if index == 0:
            raise CameraError(f"{self._path}: opens as a video, but no frame in it can be read.")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None


class PictureFolder:
    """The pictures of a folder in the order of their names."""

    live = False
    skipped = 0

    def __init__(self, paths: tuple[Path, ...], *, size: tuple[int, int] | None, fps: float) -> None:
        self.fps = fps
        self._paths = paths
        self._size = size

    def __enter__(self) -> PictureFolder:
        return self

    def frames(self) -> Iterator[Frame]:
        """Yield the pictures; raises `CameraError` naming one that cannot be read."""
        import cv2

        for index, path in enumerate(self._paths):
            image = cv2.imread(str(path), cv2.IMREAD_COLOR)
            if image is None:
                raise CameraError(f"{path}: cannot be read as a picture.")
            yield Frame(index=index, image=resized(image, self._size), captured_s=time.monotonic())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


CAMERA = FileSource()
