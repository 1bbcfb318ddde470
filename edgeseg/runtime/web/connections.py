"""Open connections: viewers, and strangers, who have not shown a token yet."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from edgeseg.runtime.cameras.deadline_socket import hang_up

if TYPE_CHECKING:
    import socket

MOST_VIEWERS = 64
MOST_STRANGERS = 16
LEAVE_S = 2.0


class Connections:
    """Open connections by thread. One stranger too many disconnects the oldest stranger, never a viewer."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._strangers: dict[threading.Thread, socket.socket] = {}
        self._viewers: dict[threading.Thread, socket.socket] = {}

    def add(self, thread: threading.Thread, connection: socket.socket) -> None:
        """Add a new connection as a stranger's."""
        with self._lock:
            oldest = next(iter(self._strangers), None) if len(self._strangers) >= MOST_STRANGERS else None
            evicted = self._strangers.pop(oldest) if oldest is not None else None
            self._strangers[thread] = connection
        if evicted is not None:
            hang_up(evicted)

    def admit(self) -> bool:
        """Make the calling thread's connection a viewer's; False if there are too many."""
        thread = threading.current_thread()
        with self._lock:
            if thread in self._viewers:
                return True
            if len(self._viewers) >= MOST_VIEWERS or thread not in self._strangers:
                return False
            self._viewers[thread] = self._strangers.pop(thread)
            return True

    def replace(self, connection: socket.socket) -> None:
        """Take `connection` for the calling thread's, which wraps the one that was added.

        Raises:
            ConnectionAbortedError: the thread's connection was disconnected already.
        """
        with self._lock:
            thread = threading.current_thread()
            if thread not in self._strangers:
                raise ConnectionAbortedError
            self._strangers[thread] = connection

    def remove(self) -> None:
        """Forget the calling thread's connection."""
        with self._lock:
            self._strangers.pop(threading.current_thread(), None)
            self._viewers.pop(threading.current_thread(), None)

    def viewers(self) -> int:
        """Return how many connections viewers have open; each open page holds one."""
        with self._lock:
            return len(self._viewers)

    def end(self) -> None:
        """Close every connection, and wait for their threads."""
        with self._lock:
            still_open = [*self._strangers.items(), *self._viewers.items()]
        for _, connection in still_open:
            hang_up(connection)
        for thread, _ in still_open:
            thread.join(timeout=LEAVE_S)
