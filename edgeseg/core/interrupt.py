"""Signals that end a process: as Ctrl-C does, and between steps rather than inside them."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType, TracebackType


GRACE_S = 0.9
"""How long a call of a library may go on after an ending signal: every verb ends within a second of it."""
TOGETHER_S = 0.5
"""Signals that arrive within this time are one: Python may run their handler once."""
_last_notice_s = [-1e9]
_held: set[HeldInterrupt] = set()
"""The regions that finish their step first, however long its calls take."""


def notice_ending() -> None:
    """Remember that Python runs the handler of an ending signal now; every such handler calls this first."""
    _last_notice_s[0] = time.monotonic()


def raise_interrupt(_number: int, _frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt; a signal handler."""
    notice_ending()
    raise KeyboardInterrupt


def endings() -> tuple[signal.Signals, ...]:
    """Return the signals that end a run: Ctrl-C, SIGTERM, and SIGHUP, which a dropped ssh connection sends."""
    return (signal.SIGINT, signal.SIGTERM, *((signal.SIGHUP,) if hasattr(signal, "SIGHUP") else ()))


@contextlib.contextmanager
def signals_as_interrupt() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise KeyboardInterrupt as Ctrl-C does, so that what is open gets closed.

    Python allows this in the main thread only; elsewhere, and for signals with another handler, nothing is changed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours = (signal.SIG_DFL, signal.default_int_handler)
    changed = {number: handler for number in endings() if (handler := signal.getsignal(number)) in ours}
    for number in changed:
        signal.signal(number, raise_interrupt)
    try:
        yield
    finally:
        for number, handler in changed.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def ending_in_time(grace_s: float = GRACE_S) -> Iterator[None]:
    """End the process with status 130 where an ending signal stays unnoticed for `grace_s`.

    Python runs signal handlers between its own instructions, and a converter's or a compiler's call may take minutes.
    Within a `HeldInterrupt` the first signal waits for the step's end, and only a second one counts.
    What was being written then stays as a hidden temporary folder, which the next writer deletes. POSIX only, in the
    main thread only.
    """
    if threading.current_thread() is not threading.main_thread() or os.name != "posix":
        yield
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    watcher = threading.Thread(target=_watch, args=(reading, grace_s), name="edgeseg-signals", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(writing)
        watcher.join()
        os.close(reading)


def _watch(reading: int, grace_s: float) -> None:
    waiting: set[HeldInterrupt] = set()
    while number := os.read(reading, 1):
        if number[0] not in endings():
            continue
        arrived_s = time.monotonic()
        if first := _held - waiting:
            waiting = first | (waiting & _held)
            continue
        while _last_notice_s[0] < arrived_s - TOGETHER_S:
            if time.monotonic() > arrived_s + grace_s:
                os.write(2, b"edgeseg: interrupted.\n")
                os._exit(130)
            time.sleep(0.02)


class HeldInterrupt:
    """A context in which the first ending signal only sets `wanted`; a second one raises KeyboardInterrupt at once.

    A step that is interrupted in the middle would leave weights, average and position of different steps. Outside the
    main thread, where Python allows no signal handlers, nothing is delayed. SIGTERM and SIGHUP are left alone where
    the caller has a handler for them or ignores them (`nohup`).
    """

    def __init__(self) -> None:
        self.wanted = False
        self._before: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}

    def __enter__(self) -> HeldInterrupt:
        if threading.current_thread() is threading.main_thread():
            for number in endings():
                handler = signal.getsignal(number)
                if number == signal.SIGINT or handler in (signal.SIG_DFL, raise_interrupt):
                    self._before[number] = signal.signal(number, self._hold)
            _held.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
        _held.discard(self)

    def _hold(self, number: int, frame: FrameType | None) -> None:
        notice_ending()
        if self.wanted:
            raise KeyboardInterrupt
        self.wanted = True
