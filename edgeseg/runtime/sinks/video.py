"""The overlay as a video file that survives crashes."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from edgeseg.core.suggestions import unknown
from edgeseg.errors import CameraError, InputError
from edgeseg.runtime.cameras.decoded import Opening
from edgeseg.runtime.cameras.media import has_pyav, open_media
from edgeseg.runtime.sinks.opencv_writer import CODECS, OpenCvWriter
from edgeseg.runtime.sinks.places import make_parent, refuse_existing, refuse_full_disk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray

    from edgeseg.runtime.sinks.base import Sink, SinkContext, View

_log = logging.getLogger(__name__)

CHECK_EVERY = 30
LONGEST_GAP_S = 30.0
"""A longer gap of a live source is shortened to this in the file."""
_under_way: set[Path] = set()
"""Partial files that this process is writing."""


class VideoKind:
    """`video:FILE.mp4`."""

    drawn = True

    def check(self, argument: str, *, force: bool) -> None:
        """Raise `InputError` where the file cannot be written."""
        check_video(Path(argument), force=force)

    def writes(self, argument: str) -> Path | None:
        """Return the file."""
        return Path(argument)

    def sink(self, argument: str, context: SinkContext) -> Sink:
        """Return the sink."""
        return VideoSink(argument, fps=context.fps, live=context.live, force=context.force, notify=context.notify)


class Writer(Protocol):
    """Writes a video's images; `notice` is what the user should know about the file."""

    notice: str

    def write(self, image: NDArray[np.uint8], time_s: float) -> None:
        """Append an image (H, W, 3) BGR at a time in seconds; raises `OSError` if it cannot be written."""

    def close(self) -> None:
        """Finish the file; raises `OSError` if that fails."""


class VideoSink:
    """A video file (.mp4, .mkv, .avi); it gets its name when it is finished, also after a signal or an error.

    Frames keep their capture times, or their times in a recorded video. A killed run leaves a hidden partial file,
    which the next run with the same `path` renames and keeps.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        fps: float,
        live: bool = False,
        force: bool = False,
        notify: Callable[[str], None] = _log.warning,
    ) -> None:
        self._path = Path(path)
        # Absolute: FFmpeg takes what is before a colon, as in 12:30.mp4, for a protocol.
        self._partial = self._path.absolute().with_name(f".{self._path.stem}.{os.getpid()}.partial{self._path.suffix}")
        self._fps = fps
        self._live = live
        self._force = force
        self._notify = notify
        self._writer: Writer | None = None
        self._size = (0, 0)
        self._count = 0
        self._zero_s: float | None = None
        self._time_s = 0.0

    def __enter__(self) -> VideoSink:
        check_video(self._path, force=self._force)
        keep_partials(self._path, notify=self._notify)
        return self

    def write(self, view: View) -> bool:
        """Append the view's image, resized to the first one's size; raises `InputError` if the disk is full."""
        import cv2

        size = (view.image.shape[0], view.image.shape[1])
        if self._writer is None:
            self._writer, self._size = self._open(size), size
        if self._count % CHECK_EVERY == 0:
            refuse_full_disk(self._path, partial=self._partial)
        image = view.image
        if size != self._size:
            # A video has one size: the recording goes on when the source changes its size.
            image = cv2.resize(image, (self._size[1], self._size[0]), interpolation=cv2.INTER_LINEAR)
        try:
            self._writer.write(image, self._time_of(view))
        except OSError as error:
            raise self._cut_off(error) from None
        self._count += 1
        return True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        writer, self._writer = self._writer, None
        try:
            if writer is not None:
                self._close(writer, failed=kind is not None)
        finally:
            _under_way.discard(self._partial)

    def _close(self, writer: Writer, *, failed: bool) -> None:
        fault: OSError | None = None
        try:
            writer.close()
        except OSError as unfinished:
            fault = unfinished
        if writer.notice:
            self._notify(f"{self._path}: {writer.notice}")
        if is_video(self._partial):
            self._finish()
        else:
            with contextlib.suppress(OSError):
                self._partial.unlink()
            fault = fault or OSError(0, "no frame in it can be read")
        if fault is not None and not failed:
            raise self._cut_off(fault)

    def _finish(self) -> None:
        """Give the recording its name, or another one where somebody took that meanwhile."""
        if self._path.is_file() and not self._force:
            kept = _free_name(self._path, pid=os.getpid())
            self._partial.replace(kept)
            self._notify(f"{self._path}: was made by another program meanwhile; this recording is {kept}.")
        else:
            self._partial.replace(self._path)

    def _time_of(self, view: View) -> float:
        """Return when a view is shown, in seconds from the first; never earlier than the previous one."""
        time_s = view.captured_s if self._live else self._count / self._fps if view.media_s is None else view.media_s
        self._zero_s = time_s if self._zero_s is None else self._zero_s
        shown_s = time_s - self._zero_s
        if self._live and shown_s - self._time_s > LONGEST_GAP_S:
            self._zero_s += shown_s - self._time_s - LONGEST_GAP_S
            shown_s = self._time_s + LONGEST_GAP_S
        self._time_s = max(self._time_s, shown_s)
        return self._time_s

    def _open(self, size: tuple[int, int]) -> Writer:
        _under_way.add(self._partial)
        try:
            return self._opened(size)
        except InputError:
            with contextlib.suppress(OSError):
                self._partial.unlink()
            raise

    def _opened(self, size: tuple[int, int]) -> Writer:
        if has_pyav():
            from edgeseg.runtime.sinks.pyav_writer import SUFFIXES, PyAvWriter

            if self._path.suffix.lower() in SUFFIXES:
                return PyAvWriter(self._partial, size=size, fps=self._fps)
        return OpenCvWriter(self._partial, size=size, fps=self._fps, live=self._live)

    def _cut_off(self, error: OSError) -> InputError:
        return InputError(
            f"{self._path}: cannot be written any further: {error.strerror or error}. Everything before is kept."
        )


def check_video(path: Path, *, force: bool) -> None:
    """Raise `InputError` if a video cannot be written."""
    if path.is_dir():
        raise InputError(f"{path}: is a folder; name a file in it, such as {path / 'overlay.mp4'}.")
    if path.suffix.lower() not in CODECS:
        raise unknown("kind of video", path.suffix or path.name, CODECS)
    refuse_existing(path, force=force)
    make_parent(path)


def keep_partials(path: Path, *, notify: Callable[[str], None]) -> None:
    """Rename playable recordings of killed runs for `path`, and delete the others."""
    mark = re.compile(rf"\.{re.escape(path.stem)}\.(\d+)\.partial{re.escape(path.suffix)}")
    for partial in path.parent.glob(".*.partial*"):
        found = mark.fullmatch(partial.name)
        pid = os.getpid() if found is None else int(found[1])
        # In a container every run has the same number: a partial file with ours is a killed run's too.
        if found is None or (partial.absolute() in _under_way if pid == os.getpid() else _is_running(pid)):
            continue
        if not is_video(partial):
            partial.unlink(missing_ok=True)
            continue
        kept = _free_name(path, pid=pid)
        partial.replace(kept)
        notify(f"A run that was killed left a recording: it is now {kept}.")


def _free_name(path: Path, *, pid: int) -> Path:
    """Return a name beside `path` for a recording that cannot have it; no earlier one has it."""
    names = (path.with_name(f"{path.stem}.recovered-{pid}{more}{path.suffix}") for more in _numbers())
    return next(name for name in names if not name.exists())


def _numbers() -> Iterator[str]:
    yield ""
    yield from (f"-{number}" for number in itertools.count(2))


def is_video(path: Path) -> bool:
    """Return whether a file is a video whose first frame can be read."""
    if not path.is_file():
        return False
    try:
        reader = open_media(Opening(uri=str(path.absolute()), shown=str(path)))
    except CameraError:
        return False
    try:
        return reader.read() is not None
    except (EOFError, CameraError):
        return False
    finally:
        reader.close()


def _is_running(pid: int) -> bool:
    if os.name != "posix":  # on Windows, os.kill would end the process
        return pid == os.getpid()
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True


SINK = VideoKind()
