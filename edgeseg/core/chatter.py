"""Vendor tools that talk: their words go to our log at DEBUG, never between a user's lines, never to stdout."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import IO, TextIO


@contextlib.contextmanager
def native_output(log: logging.Logger) -> Iterator[None]:
    """Send what compiled code writes to file descriptors 1 and 2 to `log`; Python's own streams go on as before."""
    with tempfile.TemporaryFile() as sink, contextlib.ExitStack() as stack:
        for descriptor in (1, 2):
            stack.enter_context(_redirected(descriptor, sink))
        yield
        stack.close()
        sink.seek(0)
        for line in sink.read().decode(errors="replace").splitlines():
            log.debug("%s", line)


@contextlib.contextmanager
def hushed(*names: str) -> Iterator[None]:
    """Let the loggers called `names` say errors only."""
    levels = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


@contextlib.contextmanager
def _redirected(descriptor: int, sink: IO[bytes]) -> Iterator[None]:
    name = "stdout" if descriptor == 1 else "stderr"
    stream = getattr(sys, name)
    if _descriptor(stream) == descriptor:
        stream.flush()
    try:
        saved = os.dup(descriptor)
    except OSError:  # closed, as under some service managers: nothing can be written there
        yield
        return
    # Progress lines of our own threads must still reach the terminal: Python's stream gets the saved descriptor.
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
