"""Output of vendor tools, redirected to our log at DEBUG level instead of stdout and the user's terminal."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import threading
from typing import IO, TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def native_output(log: logging.Logger) -> Iterator[None]:
    """Redirect what compiled code writes to file descriptors 1 and 2 to `log`; Python's own streams are unaffected.

    The descriptors belong to the whole process: if several threads are inside at once, the first one redirects them,
    the last one restores them, and the output goes to the last one's log. A library that calls `logging.warning`
    here installs no handler for the whole process, as it would where the program has none: such a handler would keep
    the redirected stream, closed by then.
    """
    placeholder = logging.NullHandler()
    logging.getLogger().addHandler(placeholder)
    _aside.enter()
    try:
        yield
    finally:
        logging.getLogger().removeHandler(placeholder)
        for line in _aside.leave():
            log.debug("%s", line)


@contextlib.contextmanager
def quiet_loggers(*names: str) -> Iterator[None]:
    """Limit the loggers `names` to errors."""
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


class _Aside:
    """Redirects descriptors 1 and 2 to a file while any thread is inside."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._opened = contextlib.ExitStack()
        self._sink: IO[bytes] | None = None

    def enter(self) -> None:
        with self._lock:
            if not self._inside:
                with contextlib.ExitStack() as opened:
                    self._sink = opened.enter_context(tempfile.TemporaryFile())
                    for descriptor in (1, 2):
                        opened.enter_context(_redirected(descriptor, self._sink))
                    self._opened = opened.pop_all()
            self._inside += 1

    def leave(self) -> list[str]:
        """Return the captured lines when the last thread leaves."""
        with self._lock:
            self._inside -= 1
            if self._inside:
                return []
            assert self._sink is not None
            # The file is closed last; its content is read through a second handle, once the descriptors are restored.
            with os.fdopen(os.dup(self._sink.fileno()), "rb") as written:
                self._opened.close()
                written.seek(0)
                return written.read().decode(errors="replace").splitlines()


_aside = _Aside()


@contextlib.contextmanager
def _redirected(descriptor: int, sink: IO[bytes]) -> Iterator[None]:
    name = "stdout" if descriptor == 1 else "stderr"
    stream = getattr(sys, name)
    if _descriptor(stream) == descriptor:
        stream.flush()
    try:
        saved = os.dup(descriptor)
    except OSError:  # closed, as under some service managers: nothing to redirect
        yield
        return
    # Our own progress lines must still reach the terminal, so Python's stream writes to the saved descriptor.
    own = os.fdopen(os.dup(saved), "w", buffering=1, encoding="utf-8") if _descriptor(stream) == descriptor else None
    os.dup2(sink.fileno(), descriptor)
    if own is not None:
        setattr(sys, name, own)
    try:
        yield
    finally:
        if own is not None:
            setattr(sys, name, stream)
            own.close()
        os.dup2(saved, descriptor)
        os.close(saved)


def _descriptor(stream: TextIO | None) -> int | None:
    try:
        return None if stream is None else stream.fileno()
    except (OSError, ValueError):
        return None
