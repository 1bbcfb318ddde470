"""Video files, folders and patterns of images: every frame, in order, as fast as it is asked for."""

from __future__ import annotations

import glob
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.core.protocols import Camera, CameraCounts, Frame
from edgeseg.errors import CameraError, InputError
from edgeseg.runtime.cameras.capture import DEFAULT_FPS, open_capture, rate_of, resized
from edgeseg.runtime.cameras.source import WILD, Request, SourceStatus
from edgeseg.runtime.loop.process_settings import usable_cores

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    import cv2
    import numpy as np

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm")


class FileSource:
    """`clip.mp4`, `images/`, `images/*.png` or `file:clip.mp4`."""

    schemes = ("file",)

    def camera(self, request: Request) -> Camera:
        """Return a camera on files or a folder; raises `InputError` where they are not there or hold no image."""
        text = request.rest.removeprefix("//") if request.uri.startswith("file:") else request.rest
        path, fps = Path(text), request.fps or DEFAULT_FPS
        if not path.exists() and WILD.search(text):
            return Images(_matching(text), size=request.size, fps=fps)
        if path.is_dir():
            return Images(_inside(path), size=request.size, fps=fps)
        if not path.is_file():
            raise InputError(f"{path}: no such file or folder.")
        if path.suffix.lower() in IMAGES:
            return Images((path,), size=request.size, fps=fps)
        return VideoFile(path, size=request.size, fps=request.fps)

    def status(self) -> SourceStatus:
        """Return that files can be read, and videos where OpenCV has FFMPEG."""
        import cv2

        uris = ("clip.mp4", "images/", "'images/*.png'")
        if cv2.videoio_registry.hasBackend(cv2.CAP_FFMPEG):
            return SourceStatus(uris=uris, works=True, detail="videos and images")
        mend = "pip install opencv-python-headless"
        return SourceStatus(uris=uris, works=True, detail="images only: this OpenCV has no FFMPEG", mend=mend)


def natural(path: Path) -> list[tuple[int, int, str]]:
    """Return a key that sorts `frame2` before `frame10`."""
    pieces = re.findall(r"(\d+)|(\D+)", str(path))
    return [(0, int(digits), "") if digits else (1, 0, text.lower()) for digits, text in pieces]


def _inside(folder: Path) -> tuple[Path, ...]:
    found = sorted((path for path in folder.iterdir() if path.suffix.lower() in IMAGES), key=natural)
    if not found:
        raise InputError(f"{folder}: holds no image ({', '.join(IMAGES)}).")
    return tuple(found)


def _matching(pattern: str) -> tuple[Path, ...]:
    paths = (Path(name) for name in glob.glob(pattern, recursive=True))  # noqa: PTH207 - a Path cannot start from "/"
    found = sorted((path for path in paths if path.suffix.lower() in IMAGES), key=natural)
    if not found:
        raise InputError(f"{pattern}: no image has such a name ({', '.join(IMAGES)}).")
    return tuple(found)


class EveryFrame:
    """What cameras that leave no frame out share: they count what they give, and stop between two frames."""

    live = False
    skipped = 0
    trouble = ""

    def __init__(self) -> None:
        self._given = 0
        self._stopped = False

    @property
    def counts(self) -> CameraCounts:
        """What became of the frames until now: each was given."""
        return CameraCounts(captured=self._given, delivered=self._given)

    def stop(self) -> None:
        """End the frames."""
        self._stopped = True

    def _numbered(self, images: Iterator[np.ndarray], size: tuple[int, int] | None) -> Iterator[Frame]:
        for index, image in enumerate(images):
            if self._stopped:
                return
            self._given += 1
            yield Frame(index=index, image=resized(image, size), captured_s=time.monotonic())


class VideoFile(EveryFrame):
    """Every frame of a video file."""

    def __init__(self, path: Path, *, size: tuple[int, int] | None, fps: float | None) -> None:
        super().__init__()
        self.fps = fps or DEFAULT_FPS
        self._path = path
        self._size = size
        self._wished_fps = fps
        self._capture: cv2.VideoCapture | None = None

    def __enter__(self) -> VideoFile:
        import cv2

        # FFMPEG would take all cores for a stream that one can decode, and the engine would wait for its own.
        decoders = {cv2.CAP_PROP_N_THREADS: max(1, usable_cores() // 2)}
        self._capture = open_capture(str(self._path), backend=cv2.CAP_FFMPEG, parameters=decoders)
        if self._capture is None:
            raise CameraError(f"{self._path}: cannot be read as a video: damaged, empty, or of an unknown kind.")
        self.fps = self._wished_fps or rate_of(self._capture)
        return self

    def frames(self) -> Iterator[Frame]:
        """Yield the frames from where the file stands; raises `CameraError` where it holds none."""
        return self._numbered(self._images(), self._size)

    def _images(self) -> Iterator[np.ndarray]:
        if self._capture is None:
            raise CameraError(f"{self._path}: is not open. Use it in a with block.")
        empty = True
        while True:
            good, image = self._capture.read()
            if not good:
                break
            empty = False
            yield image
        if empty:
            raise CameraError(f"{self._path}: opens as a video, but no frame in it can be read.")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None


class Images(EveryFrame):
    """Images, one after the other; each may have its own size."""

    def __init__(self, paths: tuple[Path, ...], *, size: tuple[int, int] | None, fps: float) -> None:
        super().__init__()
        self.fps = fps
        self._paths = paths
        self._size = size

    def __enter__(self) -> Images:
        return self

    def frames(self) -> Iterator[Frame]:
        """Yield the images; raises `CameraError` naming one that cannot be read."""
        return self._numbered(self._images(), self._size)

    def _images(self) -> Iterator[np.ndarray]:
        import cv2

        for path in self._paths:
            image = cv2.imread(str(path), cv2.IMREAD_COLOR)
            if image is None:
                raise CameraError(f"{path}: cannot be read as an image.")
            yield image

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


CAMERA = FileSource()
