"""What the loop hands to a sink, and the sinks that write text or labels: a folder, JSON lines, a function."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import time
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, TypeVar

import numpy as np

from edgeseg.errors import InputError
from edgeseg.runtime.loop.hud import Hud

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

LEAST_FREE_BYTES = 16 << 20
"""What a video may grow between two looks, and needs to be finished."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One result: the image, drawn on where the overlay is on, (H, W, 3) BGR uint8, and its labels (H, W) uint8.

    `frame` is the image as it came, `media_s` its time in a recorded video, and `hud` the loop's figures.
    """

    index: int
    image: np.ndarray
    labels: np.ndarray
    captured_s: float
    frame: np.ndarray
    hud: Hud
    media_s: float | None = None


S = TypeVar("S")


class Sink(Protocol):
    """A context manager that takes views, in order; `write` answers whether the loop shall go on."""

    def __enter__(self: S) -> S: ...
    def write(self, view: View) -> bool: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class LabelFolder:
    """A folder of label maps, one PNG a frame, class indices as grey levels; each appears whole or not at all."""

    def __init__(self, folder: Path | str) -> None:
        self._folder = Path(folder)

    def __enter__(self) -> LabelFolder:
        if self._folder.exists() and not self._folder.is_dir():
            raise InputError(f"{self._folder}: is a file; a folder is needed.")
        make_parent(self._folder / "0.png")
        return self

    def write(self, view: View) -> bool:
        """Write the labels; raises `InputError` where they cannot be."""
        import cv2

        path = self._folder / f"{view.index:06d}.png"
        partial = path.with_name(f".{path.name}.partial")
        _, encoded = cv2.imencode(".png", view.labels)
        try:
            partial.write_bytes(encoded.tobytes())
            partial.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                partial.unlink()
            raise InputError(f"{path}: cannot be written: {error.strerror}. The frames before it are there.") from None
        return True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class AreaLines:
    """Lines of JSON, one a frame, in a file or ("-") on stdout: which share of the pixels each class has.

    `{"frame": 7, "time": "2026-01-31T12:00:00.040+00:00", "age_ms": 31.2, "areas": {"road": 0.412, ...}}`; `time` is
    when the frame was taken, by this machine's clock.
    """

    def __init__(self, path: Path | str, *, classes: tuple[str, ...]) -> None:
        self._path = Path(path)
        self._classes = classes
        self._file: BinaryIO | None = None
        self._written_bytes = 0

    def __enter__(self) -> AreaLines:
        if str(self._path) != "-":
            if self._path.is_dir():
                raise InputError(f"{self._path}: is a folder; name a file in it, such as {self._path / 'areas.jsonl'}.")
            make_parent(self._path)
            try:
                self._file = self._path.open("wb", buffering=0)
            except OSError as error:
                raise InputError(f"{self._path}: cannot be written: {error.strerror}.") from None
        return self

    def write(self, view: View) -> bool:
        """Write the view's line; False once the reader of stdout has gone.

        Raises:
            InputError: the file cannot grow; the lines before are whole.
        """
        age_s = time.monotonic() - view.captured_s
        line = json.dumps(
            {
                "frame": view.index,
                "time": (datetime.now(timezone.utc) - timedelta(seconds=age_s)).isoformat(timespec="milliseconds"),
                "age_ms": round(1000 * age_s, 1),
                "areas": dict(zip(self._classes, areas_of(view.labels, len(self._classes)), strict=True)),
            },
            ensure_ascii=False,
        )
        return self._append(line.encode() + b"\n") if self._file else _print(line)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _append(self, line: bytes) -> bool:
        assert self._file is not None
        try:
            written = self._file.write(line)
            if written != len(line):
                raise OSError(0, "no space left for a whole line")
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(self._written_bytes)
            raise InputError(
                f"{self._path}: cannot be written: {error.strerror}. The lines before are whole."
            ) from None
        self._written_bytes += len(line)
        return True


class LabelCallback:
    """Hands each frame's labels to a function; the loop ends where that answers False."""

    def __init__(self, function: Callable[[int, np.ndarray], bool | None]) -> None:
        self._function = function

    def __enter__(self) -> LabelCallback:
        return self

    def write(self, view: View) -> bool:
        """Call the function; what it raises ends the loop, and is raised from there."""
        return self._function(view.index, view.labels) is not False

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


def areas_of(labels: np.ndarray, classes: int) -> list[float]:
    """Return each class's share of the pixels of labels (H, W) uint8, rounded to six digits."""
    import cv2

    counts = cv2.calcHist([labels], [0], None, [256], [0, 256]).reshape(-1)[:classes]
    return [round(float(count) / labels.size, 6) for count in counts]


def make_parent(path: Path) -> None:
    """Make the folder that `path` lies in; raises `InputError` where it cannot be written, or its disk is full."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path.parent}: cannot be made: {error.strerror}.") from None
    if not os.access(path.parent, os.W_OK):
        raise InputError(f"{path.parent}: cannot be written; choose another place.")
    refuse_full_disk(path)


def refuse_full_disk(path: Path, *, partial: Path | None = None) -> None:
    """Raise `InputError` where the disk of `path`, or the limit on a file's size, leaves no room to finish a video.

    OpenCV's writer says nothing when a write fails, and leaves a file that no player opens.
    """
    free_bytes = shutil.disk_usage(path.parent).free
    if free_bytes < LEAST_FREE_BYTES:
        raise InputError(f"{path}: the disk is full ({free_bytes >> 20} MB left). Free some space or save elsewhere.")
    limit_bytes = _file_limit_bytes()
    if partial is None or limit_bytes is None:
        return
    size_bytes = partial.stat().st_size if partial.exists() else 0
    if size_bytes + min(LEAST_FREE_BYTES, limit_bytes // 2) > limit_bytes:
        raise InputError(
            f"{path}: has {size_bytes >> 10} kB, and this process may write files of {limit_bytes >> 10} kB at most. "
            "See ulimit -f."
        )


def _file_limit_bytes() -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    limit_bytes = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return None if limit_bytes == resource.RLIM_INFINITY else limit_bytes


def _print(line: str) -> bool:
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has gone (`... | head -5`): what is still buffered must not fail again at exit.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return False
    except OSError as error:
        raise InputError(f"stdout: cannot be written: {error.strerror}.") from None
    return True
