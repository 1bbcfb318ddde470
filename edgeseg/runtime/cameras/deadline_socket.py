"""A connection with one deadline for all its waits, however slowly the peer sends, that another thread can end."""

from __future__ import annotations

import io
import select
import socket
import ssl
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

STEP_S = 0.05


class DeadlineSocket:
    """What `http.client` needs of a socket; raises `TimeoutError` once `deadline_s` (`time.monotonic`) has passed."""

    def __init__(self, line: socket.socket, *, deadline_s: float) -> None:
        self.line = line
        self.deadline_s = deadline_s

    def arm(self) -> None:
        """Limit the next operation to the time that is left."""
        left_s = self.deadline_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        self.line.settimeout(left_s)

    def sendall(self, data: bytes) -> None:
        """Send everything."""
        self.arm()
        self.line.sendall(data)

    def makefile(self, _mode: str = "rb", _buffering: int | None = None) -> io.BufferedReader:
        """Return a file that reads within the deadline."""
        return io.BufferedReader(_Reading(self))

    def pending(self) -> bool:
        """Return whether bytes can be read at once."""
        decrypted = isinstance(self.line, ssl.SSLSocket) and self.line.pending() > 0
        return decrypted or bool(select.select([self.line], [], [], 0)[0])

    def close(self) -> None:
        """Do nothing: http.client closes its side after the headers of a response without a length."""

    def shut(self) -> None:
        """Close the connection."""
        self.line.close()


class _Reading(io.RawIOBase):
    def __init__(self, owner: DeadlineSocket) -> None:
        self._owner = owner

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        self._owner.arm()
        return self._owner.line.recv_into(buffer)


def connected(host: str, port: int, *, deadline_s: float, stopped: Callable[[], bool], secure: bool) -> socket.socket:
    """Return a connected socket, over TLS if `secure`; looks at `stopped` twenty times a second.

    Raises:
        OSError: connection refused, no response before `deadline_s`, or an untrusted certificate.
    """
    fault: OSError = OSError("no such host")
    for family, kind, protocol, _, place in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        line = socket.socket(family, kind, protocol)
        try:
            line.setblocking(False)
            line.connect_ex(place)
            _wait(line, writes=True, deadline_s=deadline_s, stopped=stopped)
            status = line.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if status:
                raise ConnectionRefusedError(status, "")
            return _encrypted(line, host, deadline_s=deadline_s, stopped=stopped) if secure else line
        except ssl.SSLError:
            line.close()
            raise
        except OSError as error:
            line.close()
            fault = error
    raise fault


def _encrypted(line: socket.socket, host: str, *, deadline_s: float, stopped: Callable[[], bool]) -> ssl.SSLSocket:
    context = ssl.create_default_context()
    secured = context.wrap_socket(line, server_hostname=host, do_handshake_on_connect=False)
    while True:
        try:
            secured.do_handshake()
        except ssl.SSLWantReadError:
            _wait(secured, writes=False, deadline_s=deadline_s, stopped=stopped)
        except ssl.SSLWantWriteError:
            _wait(secured, writes=True, deadline_s=deadline_s, stopped=stopped)
        except OSError:
            secured.close()
            raise
        else:
            return secured


def _wait(line: socket.socket, *, writes: bool, deadline_s: float, stopped: Callable[[], bool]) -> None:
    while not stopped() and time.monotonic() < deadline_s:
        ready = select.select([] if writes else [line], [line] if writes else [], [line], STEP_S)
        if any(ready):
            return
    raise TimeoutError


def hang_up(line: socket.socket) -> None:
    """Wake a thread that waits on the connection; closing it would not."""
    try:
        line.shutdown(socket.SHUT_RDWR)
    except OSError:  # not connected yet, or no longer
        return
