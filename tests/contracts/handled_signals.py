"""When a child process may be sent a signal that the command line promises to handle."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import subprocess

WAIT_S = 120.0


def wait_for_handlers(child: subprocess.Popen[str]) -> None:
    """Return when the child is within its verb: from then on SIGTERM has a handler, which a bare interpreter lacks."""
    status = Path("/proc") / str(child.pid) / "status"
    if not status.is_file():
        pytest.skip("needs /proc to see that a process handles signals")
    until_s = time.monotonic() + WAIT_S
    while not _handles(status.read_text(encoding="ascii"), signal.SIGTERM):
        assert child.poll() is None, "the process ended before its verb began"
        assert time.monotonic() < until_s
        time.sleep(0.02)


def _handles(status: str, number: signal.Signals) -> bool:
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)
