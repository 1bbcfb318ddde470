"""The overlay as a video file."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from edgeseg.core.chatter import native_output
from edgeseg.core.names import unknown
from edgeseg.errors import InputError
from edgeseg.runtime.cameras.capture import open_capture, quiet_ffmpeg
from edgeseg.runtime.sinks import View, make_parent, refuse_full_disk

if TYPE_CHECKING:
    import cv2

_log = logging.getLogger(__name__)

# mpeg4 first: every OpenCV build has it, and it costs a small CPU far less than H.264 in software.
CODECS = {".mp4": ("mp4v", "avc1"), ".mkv": ("mp4v", "MJPG"), ".avi": ("MJPG", "mp4v")}
CHECK_EVERY = 30


class VideoSink:
    """A video file (.mp4, .mkv, .avi); it gets its name when it is finished, also after Ctrl-C."""

    def __init__(self, path: Path | str, *, fps: float) -> None:
        self._path = Path(path)
        self._partial = self._path.with_name(f".{self._path.stem}.{os.getpid()}.partial{self._path.suffix}")
        self._fps = fps
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._count = 0

    def __enter__(self) -> VideoSink:
        if self._path.suffix.lower() not in CODECS:
            raise unknown("kind of video", self._path.suffix or self._path.name, CODECS)
        if self._path.is_dir():
            raise InputError(f"{self._path}: is a folder; name a file in it, such as {self._path / 'overlay.mp4'}.")
        make_parent(self._path)
        return self

    def write(self, view: View) -> bool:
        """Append the view's picture, at the size of the first one; raises `InputError` where the disk is full."""
        import cv2

        size = (view.image.shape[0], view.image.shape[1])
        if self._writer is None:
            self._writer, self._size = self._open(size), size
        if self._count % CHECK_EVERY == 0:
            refuse_full_disk(self._path, partial=self._partial)
        image = view.image
        if size != self._size:
            # A video has one size: the recording goes on when the source changes its own.
            image = cv2.resize(image, (self._size[1], self._size[0]), interpolation=cv2.INTER_LINEAR)
        self._writer.write(image)
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


def _is_video(path: Path) -> bool:
    import cv2

    capture = open_capture(str(path), backend=cv2.CAP_FFMPEG, parameters={}) if path.is_file() else None
    if capture is None:
        return False
    good, _ = capture.read()
    capture.release()
    return bool(good)
