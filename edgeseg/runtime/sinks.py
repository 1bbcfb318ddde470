"""Where the loop's pictures go: a video file, a window, a folder of label maps."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from edgeseg.core.chatter import native_output
from edgeseg.core.names import unknown
from edgeseg.errors import InputError, MissingDependency
from edgeseg.runtime.cameras.capture import open_capture, quiet_ffmpeg

if TYPE_CHECKING:
    import cv2

_log = logging.getLogger(__name__)

# mpeg4 first: every OpenCV build has it, and it costs a small CPU far less than H.264 in software.
CODECS = {".mp4": ("mp4v", "avc1"), ".mkv": ("mp4v", "MJPG"), ".avi": ("MJPG", "mp4v")}
LEAST_FREE_BYTES = 16 << 20
CHECK_EVERY = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One result: the picture, drawn on where the overlay is on, (H, W, 3) BGR uint8, and its labels (H, W) uint8."""

    index: int
    image: np.ndarray
    labels: np.ndarray
    captured_s: float


S = TypeVar("S")


class Sink(Protocol):
    """A context manager that takes views, in order; `write` answers whether the loop shall go on."""

    def __enter__(self: S) -> S: ...
    def write(self, view: View) -> bool: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class VideoSink:
    """A video file (.mp4, .mkv, .avi); it gets its name when it is finished, also after Ctrl-C."""

    def __init__(self, path: Path | str, *, fps: float) -> None:
        self._path = Path(path)
        self._partial = self._path.with_name(f".{self._path.stem}.{os.getpid()}.partial{self._path.suffix}")
        self._fps = fps
        self._writer: cv2.VideoWriter | None = None
        self._size: tuple[int, int] | None = None
        self._count = 0

    def __enter__(self) -> VideoSink:
        if self._path.suffix.lower() not in CODECS:
            raise unknown("kind of video", self._path.suffix or self._path.name, CODECS)
        if self._path.is_dir():
            raise InputError(f"{self._path}: is a folder; name a file in it, such as {self._path / 'overlay.mp4'}.")
        _make_parent(self._path)
        return self

    def write(self, view: View) -> bool:
        """Append the view's picture; raises `InputError` where the disk is full or the picture's size changes."""
        size = (view.image.shape[0], view.image.shape[1])
        if self._writer is None:
            self._writer, self._size = self._open(size), size
        if size != self._size:
            raise InputError(f"{self._path}: the source changed from {self._size} to {size}. Give --size to fix one.")
        if self._count % CHECK_EVERY == 0:
            _refuse_full_disk(self._path)
        self._writer.write(view.image)
        self._count += 1
        return True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is None:
            return
        self._writer.release()
        self._writer = None
        if _is_video(self._partial):
            self._partial.replace(self._path)
            return
        with contextlib.suppress(OSError):
            self._partial.unlink()
        if kind is None:
            raise InputError(f"{self._path}: the video could not be finished. Is there space left on the disk?")

    def _open(self, size: tuple[int, int]) -> cv2.VideoWriter:
        import cv2

        quiet_ffmpeg()
        for codec in CODECS[self._path.suffix.lower()]:
            with native_output(_log):
                writer = cv2.VideoWriter(
                    str(self._partial), cv2.VideoWriter.fourcc(*codec), self._fps, (size[1], size[0])
                )
            if writer.isOpened():
                return writer
        raise InputError(f"{self._path}: OpenCV here cannot write it. Try .avi, or another folder.")


class LabelFolder:
    """A folder of label maps, one PNG a frame, class indices as grey levels."""

    def __init__(self, folder: Path | str) -> None:
        self._folder = Path(folder)

    def __enter__(self) -> LabelFolder:
        if self._folder.exists() and not self._folder.is_dir():
            raise InputError(f"{self._folder}: is a file; a folder is needed.")
        _make_parent(self._folder / "0.png")
        return self

    def write(self, view: View) -> bool:
        """Write the labels; raises `InputError` where they cannot be."""
        import cv2

        path = self._folder / f"{view.index:06d}.png"
        if not cv2.imwrite(str(path), view.labels):
            raise InputError(f"{path}: cannot be written. Is there space left on the disk?")
        return True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class WindowSink:
    """A window; q, Escape or its close button ends the loop."""

    def __init__(self, title: str = "edgeseg") -> None:
        self._title = title

    def __enter__(self) -> WindowSink:
        import cv2

        fault = window_fault()
        if fault is not None:
            raise MissingDependency(f"No window: {fault.reason} {fault.mend}")
        cv2.namedWindow(self._title, cv2.WINDOW_NORMAL)
        return self

    def write(self, view: View) -> bool:
        """Show the picture; False once the person has had enough."""
        import cv2

        cv2.imshow(self._title, view.image)
        if cv2.waitKey(1) & 0xFF in (ord("q"), 27):
            return False
        return cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) >= 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        import cv2

        with contextlib.suppress(cv2.error):
            cv2.destroyWindow(self._title)


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowFault:
    """Why no window can open here, and what mends it."""

    reason: str
    mend: str


def window_fault() -> WindowFault | None:
    """Return why OpenCV cannot open a window here, or None where it can."""
    import cv2

    lines = [line.split(":", 1)[1].strip() for line in cv2.getBuildInformation().splitlines() if "GUI:" in line]
    if lines and lines[0].upper() == "NONE":
        return WindowFault(
            reason="this OpenCV is the headless build.",
            mend="Use --headless or --save FILE, or: pip uninstall opencv-python-headless; pip install opencv-python",
        )
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return WindowFault(reason="there is no display (DISPLAY is not set).", mend="Use --headless or --save FILE.")
    return None


def _make_parent(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path.parent}: cannot be made: {error.strerror}.") from None
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"{path.parent}: cannot be written; choose another place.")
    _refuse_full_disk(path)


def _refuse_full_disk(path: Path) -> None:
    # OpenCV's writer says nothing when the disk is full, and leaves a file that no player opens.
    free_bytes = shutil.disk_usage(path.parent).free
    if free_bytes < LEAST_FREE_BYTES:
        raise InputError(f"{path}: the disk is full ({free_bytes >> 20} MB left). Free some space or save elsewhere.")


def _is_video(path: Path) -> bool:
    import cv2

    capture = open_capture(str(path), backend=cv2.CAP_FFMPEG, parameters={}) if path.is_file() else None
    if capture is None:
        return False
    good, _ = capture.read()
    capture.release()
    return bool(good)
