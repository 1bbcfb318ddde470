"""Signals that end a process: as Ctrl-C does, and between steps rather than inside them."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType, TracebackType


def raise_interrupt(_number: int, _frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt; a signal handler."""
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
    changed = [number for number in endings() if signal.getsignal(number) is signal.SIG_DFL]
    for number in changed:
        signal.signal(number, raise_interrupt)
    try:
        yield
    finally:
        for number in changed:
            signal.signal(number, signal.SIG_DFL)


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
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _hold(self, number: int, frame: FrameType | None) -> None:
        if self.wanted:
            raise KeyboardInterrupt
        self.wanted = True
