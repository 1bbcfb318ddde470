"""A process that writes images into a pipe and can be ended at any moment."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import time
from typing import TYPE_CHECKING

from edgeseg.errors import CameraError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_CHUNK_BYTES = 1 << 20
KEPT_WORDS = 2000
END_S = 1.0
_STEP_S = 0.2


class Child:
    """One running process and the reading end of its pipe. POSIX only: it waits with `select`.

    `command` gets the number of the descriptor to write images to. The end of its other output is kept for error
    messages.
    """

    def __init__(self, command: Callable[[int], Sequence[str]], *, stdin_text: bytes = b"") -> None:
        reading, writing = os.pipe()
        _widen(reading)
        try:
            # Its own session: Ctrl-C in the terminal reaches only us, and we end the child.
            self._process = subprocess.Popen(
                list(command(writing)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(writing,),
                start_new_session=True,
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        self._images = reading
        self._words = b""
        self._talks = True
        if stdin_text:
            assert self._process.stdin is not None
            with contextlib.suppress(OSError):
                self._process.stdin.write(stdin_text)
                self._process.stdin.flush()

    def read(self, size_bytes: int, *, deadline_s: float) -> bytearray:
        """Return exactly `size_bytes`; raises `TimeoutError`, or `EOFError` once the program writes no more."""
        data = bytearray(size_bytes)
        view, done = memoryview(data), 0
        while done < size_bytes:
            self._wait(deadline_s)
            count = os.readv(self._images, [view[done:]])
            if count == 0:
                raise EOFError
            done += count
        return data

    def kill(self) -> None:
        """End the process; from any thread. A waiting `read` gets `EOFError`."""
        self._process.kill()

    def close(self) -> None:
        """End the program and close its pipes."""
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # stuck in a driver: nothing can end it
            self._process.wait(timeout=END_S)
        with contextlib.suppress(OSError):
            os.close(self._images)
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                assert stream is not None
                stream.close()

    def output_so_far(self) -> str:
        """Return the end of the process's output so far."""
        return self._words.decode(errors="replace")

    def final_output(self) -> str:
        """Return the end of the process's output, waiting a moment for it to end."""
        end_s = time.monotonic() + END_S
        while self._talks and time.monotonic() < end_s:
            self._read_output(_STEP_S)
        return self._words.decode(errors="replace")

    def _wait(self, deadline_s: float) -> None:
        while True:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                raise TimeoutError
            assert self._process.stdout is not None
            said = self._process.stdout.fileno()
            watched = [self._images, said] if self._talks else [self._images]
            ready = select.select(watched, [], [], left_s)[0]
            if said in ready:
                self._read_output(0)
            if self._images in ready:
                return

    def _read_output(self, wait_s: float) -> None:
        stream = self._process.stdout
        assert stream is not None
        if select.select([stream], [], [], wait_s)[0]:
            said = os.read(stream.fileno(), _CHUNK_BYTES)
            self._talks = bool(said)
            self._words = (self._words + said)[-KEPT_WORDS:]


def _widen(pipe: int) -> None:
    # A pipe of one megabyte means fewer switches between the processes; only Linux can resize pipes.
    with contextlib.suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _CHUNK_BYTES)


def start(command: Callable[[int], Sequence[str]], *, name: str, stdin_text: bytes = b"") -> Child:
    """Return the running program; raises `CameraError` where it cannot be started."""
    try:
        return Child(command, stdin_text=stdin_text)
    except OSError as error:
        raise CameraError(f"{name}: its reader cannot be started: {error.strerror or error}.") from None
