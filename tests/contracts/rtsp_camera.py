"""`rtsp_server.py` as a process that tests and benchmarks start, stop and start again."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

from contracts.mjpeg_server import free_port

SYSTEM_PYTHON = Path("/usr/bin/python3")
SERVER = Path(__file__).with_name("rtsp_server.py")


class RtspCamera:
    """A server process on this machine; with `fps` it has the numbered stream too. Its port stays the same."""

    def __init__(self, *, fps: int | None = None) -> None:
        self.port = free_port()
        self.process: subprocess.Popen[str] | None = None
        self._fps = fps
        self._start_s = 0.0

    def start(self) -> bool:
        """Start the server; False where the system's Python lacks GStreamer's server library."""
        if not SYSTEM_PYTHON.exists():
            return False
        self.process = subprocess.Popen(
            [str(SYSTEM_PYTHON), str(SERVER), str(self.port), *([str(self._fps)] if self._fps else [])],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        said, _, start_s = self.process.stdout.readline().partition(" ")
        if said != "listening":
            self.stop()
            return False
        self._start_s = float(start_s)
        return True

    def stop(self, how: signal.Signals = signal.SIGKILL) -> None:
        """Kill the server, or send it another signal and keep it."""
        if self.process is None:
            return
        self.process.send_signal(how)
        if how is signal.SIGKILL:
            self.process.wait()
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.process = None

    def uri(self, path: str = "/cam") -> str:
        """Return a stream's address."""
        return f"rtsp://127.0.0.1:{self.port}{path}"

    def age_s(self, number: int) -> float:
        """Return how long ago the numbered stream's frame was taken."""
        assert self._fps is not None
        return time.monotonic() - (self._start_s + number / self._fps)
