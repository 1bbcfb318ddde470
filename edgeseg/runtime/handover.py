"""A bounded hand-over between two stages of the loop that ends when either side does."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

# Waits end by themselves now and then: on Windows a thread that waits for ever does not see Ctrl-C.
WAKE_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueState:
    """How full a queue was: frames that wait now, the most that ever did, their mean after each put, and its room."""

    waiting: int
    most: int
    mean: float
    room: int


class Handover(Generic[T]):
    """A queue of at most `room` items, from one thread to one other. `put` and `get` return at once after `stop`."""

    def __init__(self, room: int) -> None:
        self._room = room
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._asleep = 0
        self._ended = False
        self._stopped = False
        self._puts = self._filled = self._most = 0

    def wait_for_room(self) -> bool:
        """Return whether there is room, after waiting for it; False once stopped."""
        with self._changed:
            while len(self._items) >= self._room and not self._stopped:
                self._sleep()
            return not self._stopped

    def put(self, item: T) -> bool:
        """Hand an item over, waiting for room; False once stopped."""
        with self._changed:
            while len(self._items) >= self._room and not self._stopped:
                self._sleep()
            if not self._stopped:
                self._items.append(item)
                self._puts += 1
                self._filled += len(self._items)
                self._most = max(self._most, len(self._items))
                self._wake()
            return not self._stopped

    def get(self) -> T | None:
        """Return the next item, waiting for it; None once the other side has ended and all is taken, or on stop."""
        with self._changed:
            while not self._items and not self._ended and not self._stopped:
                self._sleep()
            if self._stopped or not self._items:
                return None
            item = self._items.popleft()
            self._wake()
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

    def state(self) -> QueueState:
        """Return how full the queue is and was."""
        with self._changed:
            mean = self._filled / self._puts if self._puts else 0.0
            return QueueState(waiting=len(self._items), most=self._most, mean=round(mean, 3), room=self._room)

    def level(self) -> tuple[int, int]:
        """Return how many items wait now, and the room; takes no lock, for a figure on the screen."""
        return len(self._items), self._room

    def _sleep(self) -> None:
        self._asleep += 1
        try:
            self._changed.wait(WAKE_S)
        finally:
            self._asleep -= 1

    def _wake(self) -> None:
        # A notification that nobody waits for still costs the lock's holder time.
        if self._asleep:
            self._changed.notify_all()
