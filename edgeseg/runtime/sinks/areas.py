"""Each class's share of the pixels, as JSON lines."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from edgeseg.errors import InputError
from edgeseg.runtime.sinks.places import make_parent, refuse_existing

if TYPE_CHECKING:
    from types import TracebackType

    import numpy as np

    from edgeseg.runtime.sinks.base import Sink, SinkContext, View

STDOUT = "-"


class AreasKind:
    """`areas:FILE`, `areas:-` (stdout)."""

    drawn = False

    def check(self, argument: str, *, force: bool) -> None:
        """Raise `InputError` where the file cannot be written."""
        if argument != STDOUT:
            check_areas(Path(argument or "."), force=force)

    def writes(self, argument: str) -> Path | None:
        """Return the file."""
        return None if argument == STDOUT else Path(argument)

    def sink(self, argument: str, context: SinkContext) -> Sink:
        """Return the sink."""
        return AreaLines(argument, classes=context.spec.classes, force=context.force)


class AreaLines:
    """JSON lines, one for each frame, in a file or ("-") on stdout: which share of the pixels each class has.

    `{"frame": 7, "time": "2026-01-31T12:00:00.040+00:00", "media_s": 0.28, "age_ms": 31.2, "areas": {"road": 0.412}}`;
    `time` is the capture time by this machine's clock, and `media_s` the time in a recorded video, else null.
    """

    def __init__(self, path: Path | str, *, classes: tuple[str, ...], force: bool = False) -> None:
        self._path = Path(path)
        self._classes = classes
        self._force = force
        self._file: BinaryIO | None = None
        self._written_bytes = 0

    def __enter__(self) -> AreaLines:
        if str(self._path) != STDOUT:
            check_areas(self._path, force=self._force)
            try:
                self._file = self._path.open("wb", buffering=0)
            except OSError as error:
                raise InputError(f"{self._path}: cannot be written: {error.strerror}.") from None
        return self

    def write(self, view: View) -> bool:
        """Write the view's line; return False once the reader of stdout has closed it.

        Raises:
            InputError: the file cannot be written further; earlier lines are complete.
        """
        age_s = time.monotonic() - view.captured_s
        line = json.dumps(
            {
                "frame": view.index,
                "time": (datetime.now(timezone.utc) - timedelta(seconds=age_s)).isoformat(timespec="milliseconds"),
                "media_s": None if view.media_s is None else round(view.media_s, 6),
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
        reason: str | None = "no space left for a whole line"
        try:
            if self._file.write(line) == len(line):
                self._written_bytes += len(line)
                return True
        except OSError as error:
            reason = error.strerror
        with contextlib.suppress(OSError):
            self._file.truncate(self._written_bytes)
        raise InputError(f"{self._path}: cannot be written: {reason}. Earlier lines are complete.")


def check_areas(path: Path, *, force: bool) -> None:
    """Raise `InputError` if the lines cannot be written."""
    if path.is_dir():
        raise InputError(f"{path}: is a folder; name a file in it, such as {path / 'areas.jsonl'}.")
    refuse_existing(path, force=force)
    make_parent(path)


def areas_of(labels: np.ndarray, classes: int) -> list[float]:
    """Return each class's share of the pixels of labels (H, W) uint8, rounded to six digits."""
    import cv2

    counts = cv2.calcHist([labels], [0], None, [256], [0, 256]).reshape(-1)[:classes]
    return [round(float(count) / labels.size, 6) for count in counts]


def _print(line: str) -> bool:
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader has closed stdout (`... | head -5`): buffered text must not fail again at exit.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return False
    except OSError as error:
        raise InputError(f"stdout: cannot be written: {error.strerror}.") from None
    return True


SINK = AreasKind()
