"""A bounded hand-over between two stages of the loop that ends when either side does."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")

# Waits end by themselves now and then: on Windows a thread that waits for ever does not see Ctrl-C.
WAKE_S = 0.5


class Handover(Generic[T]):
    """A queue of at most `room` items. `put` and `get` return at once after `stop`."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self._stopped = False

    def wait_for_room(self) -> bool:
        """Return whether there is room, after waiting for it; False once stopped."""
        with self._changed:
            while len(self._items) >= self._room and not self._stopped:
                self._changed.wait(WAKE_S)
            return not self._stopped

    def put(self, item: T) -> bool:
        """Hand an item over, waiting for room; False once stopped."""
        with self._changed:
            while len(self._items) >= self._room and not self._stopped:
                self._changed.wait(WAKE_S)
            if not self._stopped:
                self._items.append(item)
                self._changed.notify_all()
            return not self._stopped

    def get(self) -> T | None:
        """Return the next item, waiting for it; None once the other side has ended and all is taken, or on stop."""
        with self._changed:
            while not self._items and not self._ended and not self._stopped:
                self._changed.wait(WAKE_S)
            if self._stopped or not self._items:
                return None
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def end(self) -> None:
        """Say that nothing more comes; what was put before can still be taken."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def stop(self) -> None:
        """Wake both sides for good; what was not taken is dropped."""
        with self._changed:
            self._stopped = True
            self._items.clear()
            self._changed.notify_all()
