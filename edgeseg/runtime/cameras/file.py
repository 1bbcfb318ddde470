"""Video files, folders and patterns of images: every frame, in order, as fast as the loop takes them."""

from __future__ import annotations

import glob
import re
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.core.cpu_cores import usable_cores
from edgeseg.errors import CameraError, DatasetError, InputError
from edgeseg.runtime.cameras.capture import DEFAULT_FPS
from edgeseg.runtime.cameras.decoded import INSTALL, Decoded, Opening
from edgeseg.runtime.cameras.every_frame import EveryFrame, Recording
from edgeseg.runtime.cameras.media import has_pyav, open_media
from edgeseg.runtime.cameras.source import WILD, Request, SourceStatus

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from edgeseg.core.protocols import Camera, Frame

SHOWN_NAMES = 5
FRAME_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".ppm")


class FileSource:
    """`clip.mp4`, `images/`, `images/*.png` or `file:clip.mp4`."""

    schemes = ("file",)

    def camera(self, request: Request) -> Camera:
        """Return a camera on files or a folder; raises `InputError` if there are no such files or no images."""
        text = request.rest.removeprefix("//") if request.uri.startswith("file:") else request.rest
        path, fps = Path(text), request.fps or DEFAULT_FPS
        if not path.exists() and WILD.search(text):
            return Images(_matching(text), size=request.size, fps=fps)
        if path.is_dir():
            return Images(_inside(path), size=request.size, fps=fps)
        if path.is_char_device() or path.is_block_device():
            raise InputError(f"{path}: is a device, not a file. A camera is --source v4l2:{path}.")
        if not path.is_file():
            raise InputError(f"{path}: no such file or folder.")
        if path.suffix.lower() in FRAME_SUFFIXES:
            return Images((path,), size=request.size, fps=fps)
        # FFmpeg would use all cores for a stream that one can decode, and slow down the engine.
        # Absolute: FFmpeg takes what is before a colon, as in 12:30.mp4, for a protocol.
        opening = Opening(uri=str(path.absolute()), shown=str(path), threads=max(1, usable_cores() // 2))
        return Recording(lambda: open_media(opening), name=str(path), size=request.size, fps=request.fps)

    def status(self) -> SourceStatus:
        """Return that files can be read, and videos where PyAV is installed or OpenCV has FFmpeg."""
        import cv2

        uris = ("clip.mp4", "images/", "'images/*.png'")
        if has_pyav():
            return SourceStatus(uris=uris, works=True, detail="videos (PyAV) and images")
        if cv2.videoio_registry.hasBackend(cv2.CAP_FFMPEG):
            return SourceStatus(uris=uris, works=True, detail="videos (OpenCV) and images")
        return SourceStatus(uris=uris, works=True, detail="images only: this OpenCV has no FFmpeg", fix=INSTALL)


def natural(path: Path) -> list[tuple[int, int, str]]:
    """Return a key that sorts `frame2` before `frame10`."""
    pieces = re.findall(r"(\d+)|(\D+)", str(path))
    return [(0, int(digits), "") if digits else (1, 0, text.lower()) for digits, text in pieces]


def _is_image(path: Path) -> bool:
    """Return whether a path names an image; hidden files, such as macOS writes beside images, are none."""
    return path.suffix.lower() in FRAME_SUFFIXES and not path.name.startswith(".") and not path.is_dir()


def _inside(folder: Path) -> tuple[Path, ...]:
    found = sorted((path for path in folder.iterdir() if _is_image(path)), key=natural)
    if not found:
        raise InputError(f"{folder}: contains no image ({', '.join(FRAME_SUFFIXES)}).")
    return tuple(found)


def _matching(pattern: str) -> tuple[Path, ...]:
    paths = (Path(name) for name in glob.glob(pattern, recursive=True))  # noqa: PTH207 - a Path cannot start from "/"
    found = sorted((path for path in paths if _is_image(path)), key=natural)
    if not found:
        raise InputError(f"{pattern}: no image matches ({', '.join(FRAME_SUFFIXES)}).")
    return tuple(found)


def _also(paths: list[Path]) -> str:
    """Return a sentence with the names of further images, "" without any."""
    if not paths:
        return ""
    more = f", and {len(paths) - SHOWN_NAMES} more" if len(paths) > SHOWN_NAMES else ""
    return f" Also: {', '.join(path.name for path in paths[:SHOWN_NAMES])}{more}."


class Images(EveryFrame):
    """Images, one after the other; each may have its own size. One that cannot be read is counted as corrupt."""

    def __init__(self, paths: tuple[Path, ...], *, size: tuple[int, int] | None, fps: float) -> None:
        super().__init__()
        self.fps = fps
        self._paths = paths
        self._size = size

    def __enter__(self) -> Images:
        return self

    def frames(self) -> Iterator[Frame]:
        """Yield the images that can be read; raises `CameraError` if none can."""
        return self._numbered(self._images(), self._size)

    def _images(self) -> Iterator[Decoded | None]:
        from edgeseg.data.reading import read_image

        broken: list[Path] = []
        first = ""
        for index, path in enumerate(self._paths):
            try:
                image = read_image(path)
            except DatasetError as error:
                first = first or str(error)
                broken.append(path)
                self._damage = first + _also(broken[1:])
                yield None
                continue
            yield Decoded(image=image, media_s=index / self.fps)
        if broken and not self._given:
            raise CameraError(self._damage)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


CAMERA = FileSource()
