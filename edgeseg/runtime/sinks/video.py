"""The overlay as a video file."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.core.silence import native_output
from edgeseg.core.suggestions import unknown
from edgeseg.errors import InputError
from edgeseg.runtime.cameras.capture import open_capture, quiet_ffmpeg
from edgeseg.runtime.sinks.base import View, make_parent, refuse_full_disk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    import cv2

_log = logging.getLogger(__name__)

# mpeg4 first: every OpenCV build has it, and it costs a small CPU far less than H.264 in software.
CODECS = {".mp4": ("mp4v", "avc1"), ".mkv": ("mp4v", "MJPG"), ".avi": ("MJPG", "mp4v")}
CHECK_EVERY = 30
MEASURED = 10
"""Frames of a live source by which the file's rate is chosen."""
LONGEST_GAP_S = 30.0
"""A source that was away for longer is away for so long in the file."""


class VideoSink:
    """A video file (.mp4, .mkv, .avi); it gets its name when it is finished, also after Ctrl-C.

    With `live` it plays at the speed at which its frames were taken, and `fps` is no more than its highest rate: the
    file's rate is that of the first frames, and later ones are shown longer or left out as their times say.
    """

    def __init__(self, path: Path | str, *, fps: float, live: bool = False) -> None:
        self._path = Path(path)
        self._partial = self._path.with_name(f".{self._path.stem}.{os.getpid()}.partial{self._path.suffix}")
        self._fps = fps
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._count = 0
        self._first: list[View] | None = [] if live else None
        self._timeline: _Timeline | None = None

    def __enter__(self) -> VideoSink:
        if self._path.suffix.lower() not in CODECS:
            raise unknown("kind of video", self._path.suffix or self._path.name, CODECS)
        if self._path.is_dir():
            raise InputError(f"{self._path}: is a folder; name a file in it, such as {self._path / 'overlay.mp4'}.")
        make_parent(self._path)
        return self

    def write(self, view: View) -> bool:
        """Append the view's image, at the size of the first one; raises `InputError` where the disk is full."""
        if self._first is not None:
            self._first.append(view)
            if len(self._first) == MEASURED:
                self._start()
        elif self._timeline is not None:
            for due in self._timeline.due(view):
                self._append(due)
        else:
            self._append(view)
        return True

    def _start(self) -> None:
        assert self._first is not None
        views, self._first = self._first, None
        times_s = [view.captured_s for view in views]
        self._fps = _rate_of(times_s, highest=self._fps)
        self._timeline = _Timeline(self._fps)
        for view in views:
            self.write(view)

    def _append(self, view: View) -> None:
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

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._first:
            self._start()
        if self._timeline is not None:
            for last in self._timeline.rest():
                self._append(last)
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


class _Timeline:
    """Says which image stands in which place of a file of a fixed rate: the newest one that was there by then."""

    def __init__(self, fps: float) -> None:
        self._fps = fps
        self._zero_s = 0.0
        self._written = 0
        self._held: View | None = None

    def due(self, view: View) -> Iterator[View]:
        """Take the next view; yield the one before it as often as it was shown until now."""
        held, self._held = self._held, view
        if held is None:
            self._zero_s = view.captured_s
            return
        gap_s = view.captured_s - held.captured_s
        self._zero_s += max(0.0, gap_s - LONGEST_GAP_S)
        places = round((view.captured_s - self._zero_s) * self._fps)
        while self._written < places:
            self._written += 1
            yield held

    def rest(self) -> Iterator[View]:
        """Yield the last view, once."""
        if self._held is not None:
            yield self._held
            self._held = None


def _rate_of(times_s: list[float], *, highest: float) -> float:
    """Return the frames a second of the middle distance in time; `highest` for a single frame."""
    distances = sorted(after - before for before, after in itertools.pairwise(times_s))
    middle_s = distances[len(distances) // 2] if distances else 0.0
    return max(1.0, min(highest, 1 / middle_s)) if middle_s > 0 else highest


def _is_video(path: Path) -> bool:
    import cv2

    capture = open_capture(str(path), backend=cv2.CAP_FFMPEG, parameters={}) if path.is_file() else None
    if capture is None:
        return False
    good, _ = capture.read()
    capture.release()
    return bool(good)
