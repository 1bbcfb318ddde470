"""A TensorBoard event file of scalars."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tensorboard.compat.proto.event_pb2 import Event


class EventFile:
    """Scalars for TensorBoard, each on the disk when `scalar` returns.

    TensorBoard's own writer has a thread, in which a full disk is a traceback that the run does not see.
    """

    def __init__(self, folder: Path, *, purge_step: int) -> None:
        """Open a new file in `folder`; points of earlier files from `purge_step` on are dropped.

        Raises:
            ImportError: TensorBoard is not installed.
            OSError: the file cannot be written.
        """
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{int(time.time()):010d}.{socket.gethostname()}.{os.getpid()}.0"
        self._records = RecordWriter((folder / name).open("ab"))
        self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
        start = SessionLog(status=SessionLog.START)
        self._write(Event(wall_time=time.time(), step=purge_step, session_log=start))

    def scalar(self, name: str, value: float, step: int) -> None:
        """Add a point; raises OSError if it cannot be written."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary

        summary = Summary(value=[Summary.Value(tag=name, simple_value=value)])
        self._write(Event(wall_time=time.time(), step=step, summary=summary))

    def close(self) -> None:
        """Close the file; what a full disk did not take was reported by `scalar`."""
        with contextlib.suppress(OSError):
            self._records.close()

    def _write(self, event: Event) -> None:
        self._records.write(event.SerializeToString())
        self._records.flush()
