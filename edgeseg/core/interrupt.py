"""Ctrl-C between steps, not inside them: training steps, or writes that belong together."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType, TracebackType


class HeldInterrupt:
    """A context in which the first SIGINT only sets `wanted`; a second one raises KeyboardInterrupt at once.

    A step that is interrupted in the middle would leave weights, average and position of different steps. Outside the
    main thread, where Python allows no signal handlers, nothing is delayed.
    """

    def __init__(self) -> None:
        self.wanted = False
        self._before: object = None

    def __enter__(self) -> HeldInterrupt:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._hold)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)  # type: ignore[arg-type]

    def _hold(self, number: int, frame: FrameType | None) -> None:
        if self.wanted:
            raise KeyboardInterrupt
        self.wanted = True
