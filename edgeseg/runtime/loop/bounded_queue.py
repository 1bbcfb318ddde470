"""A bounded hand-over between two stages of the loop that ends when either side does."""

from __future__ import annotations

import queue
from dataclasses import dataclass
from typing import Generic, TypeVar

_T = TypeVar("_T")
_V = TypeVar("_V")

# Waits time out now and then: on Windows a thread that waits forever does not see Ctrl-C.
_WAKE_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueState:
    """How full a queue is: frames waiting now, their maximum, their mean after each put, and the capacity."""

    waiting: int
    most: int
    mean: float
    room: int


class _End:
    """The last item handed over, also sent to either side when the other one stops."""


_END = _End()


class Handover(Generic[_T]):
    """A queue of at most `room` items, from one thread to one other. `put` and `get` return at once after `stop`.

    Items go one way and free slots come back the other way, each through a standard-library queue that is written in C:
    between two inferences the engine's thread must not wait for the interpreter lock, and a condition variable in
    Python takes and releases it several times.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._items: queue.SimpleQueue[_T | _End] = queue.SimpleQueue()
        self._places: queue.SimpleQueue[_End | None] = queue.SimpleQueue()
        for _ in range(room):
            self._places.put(None)
        self._ended = False
        self._stopped = False
        self._puts = self._filled = self._most = 0

    def wait_for_room(self) -> bool:
        """Return whether there is room, after waiting for it; False once stopped."""
        place = self._taken(self._places)
        if place is None and not self._stopped:
            self._places.put(None)
        return not self._stopped

    def put(self, item: _T) -> bool:
        """Hand over an item, waiting for room; return False once stopped."""
        self._taken(self._places)
        if self._stopped:
            return False
        self._items.put(item)
        waiting = self._waiting()
        self._puts += 1
        self._filled += waiting
        self._most = max(self._most, waiting)
        return True

    def get(self) -> _T | None:
        """Return the next item, waiting for it; None on stop, or at the end of a finished queue."""
        if self._ended:
            return None
        item = self._taken(self._items)
        if self._stopped or isinstance(item, _End):
            self._ended = True
            return None
        self._places.put(None)
        return item

    def end(self) -> None:
        """Mark the end; items put before can still be taken."""
        self._items.put(_END)

    def stop(self) -> None:
        """Wake both sides for good; items not taken are dropped."""
        self._stopped = True
        self._items.put(_END)
        self._places.put(_END)

    def state(self) -> QueueState:
        """Return how full the queue is and has been."""
        mean = self._filled / self._puts if self._puts else 0.0
        return QueueState(waiting=self._waiting(), most=self._most, mean=round(mean, 3), room=self._room)

    def level(self) -> tuple[int, int]:
        """Return the number of waiting items and the capacity, for the HUD."""
        return self._waiting(), self._room

    def _waiting(self) -> int:
        return 0 if self._stopped else min(self._items.qsize(), self._room)

    def _taken(self, source: queue.SimpleQueue[_V | _End]) -> _V | _End:
        while not self._stopped:
            try:
                return source.get(timeout=_WAKE_S)
            except queue.Empty:
                continue
        return _END
