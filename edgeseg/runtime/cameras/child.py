"""A program that writes images into a pipe: it can be ended at any moment, whatever it is doing."""

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

CHUNK_BYTES = 1 << 20
KEPT_WORDS = 2000
END_S = 1.0
STEP_S = 0.2


class Child:
    """One running program and the reading end of its images. POSIX: its pipes are waited for with `select`.

    `command` gets the number of the descriptor to write images to. The last part of what it says on its other outputs
    is kept, for an error's text.
    """

    def __init__(self, command: Callable[[int], Sequence[str]], *, said_first: bytes = b"") -> None:
        reading, writing = os.pipe()
        _widen(reading)
        try:
            # Its own session: Ctrl-C in the terminal is for us, and we end it.
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
        if said_first:
            assert self._process.stdin is not None
            with contextlib.suppress(OSError):
                self._process.stdin.write(said_first)
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
        """End the program; from any thread. A `read` that waits gets `EOFError`."""
        self._process.kill()

    def close(self) -> None:
        """End the program and close its pipes."""
        self._process.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # stuck in a driver: nobody can end it
            self._process.wait(timeout=END_S)
        with contextlib.suppress(OSError):
            os.close(self._images)
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                assert stream is not None
                stream.close()

    def heard(self) -> str:
        """Return the last of what the program has said so far."""
        return self._words.decode(errors="replace")

    def words(self) -> str:
        """Return the last of what the program said, and of what it still says when it ends within a moment."""
        end_s = time.monotonic() + END_S
        while self._talks and time.monotonic() < end_s:
            self._hear(STEP_S)
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
                self._hear(0)
            if self._images in ready:
                return

    def _hear(self, wait_s: float) -> None:
        stream = self._process.stdout
        assert stream is not None
        if select.select([stream], [], [], wait_s)[0]:
            said = os.read(stream.fileno(), CHUNK_BYTES)
            self._talks = bool(said)
            self._words = (self._words + said)[-KEPT_WORDS:]


def _widen(pipe: int) -> None:
    # A pipe of one megabyte takes fewer turns between the two programs; only Linux lets it be asked for.
    with contextlib.suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, CHUNK_BYTES)


def start(command: Callable[[int], Sequence[str]], *, name: str, said_first: bytes = b"") -> Child:
    """Return the running program; raises `CameraError` where it cannot be started."""
    try:
        return Child(command, said_first=said_first)
    except OSError as error:
        raise CameraError(f"{name}: its reader cannot be started: {error.strerror or error}.") from None
