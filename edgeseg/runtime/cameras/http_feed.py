"""MJPEG over HTTP: our own reader, because a read must end in time, and every damaged image counts."""

from __future__ import annotations

import base64
import http.client
import re
import select
import socket
import ssl
import threading
import time
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

import numpy as np

from edgeseg.errors import CameraError
from edgeseg.runtime.cameras.feed import OPEN_S, Image
from edgeseg.runtime.cameras.multipart import Parts, damage

CHUNK_BYTES = 1 << 16
REDIRECTS = 5
STEP_S = 0.05
PORTS = {"http": 80, "https": 443}


class OtherContent(CameraError):
    """The address answers, but not with a row of JPEG images."""


class HttpFeed:
    """One connection to `uri`; `shown` is the address without its password."""

    fps: float | None = None

    def __init__(self, uri: str, *, shown: str, stall_s: float) -> None:
        self._uri = uri
        self._shown = shown
        self._stall_s = stall_s
        self._stopped = threading.Event()
        self._socket: socket.socket | None = None
        self._response: http.client.HTTPResponse | None = None
        self._parts = Parts(b"")
        self._damaged = 0
        self._lost: CameraError | None = None

    def open(self) -> None:
        """Connect and read the answer's head; raises `OtherContent` for one that is no MJPEG, else `CameraError`."""
        uri = self._uri
        try:
            for _ in range(REDIRECTS):
                response = self._ask(urlsplit(uri))
                if response.status in (301, 302, 303, 307, 308) and response.getheader("Location"):
                    uri = urljoin(uri, response.getheader("Location"))
                    self.close()
                    continue
                self._accept(response)
                return
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._no_stream(_words(error)) from None
        raise self._no_stream("it redirects without end")

    def read(self) -> Image | None:
        """Return the newest image that has arrived, after waiting for one; None once for each damaged one."""
        if self._damaged:
            self._damaged -= 1
            return None
        if self._lost is not None:
            raise self._lost
        deadline_s = time.monotonic() + self._stall_s
        bodies: list[bytes] = []
        while not bodies:
            bodies = self._parts.feed(self._receive(deadline_s))
        # What has piled up behind a slow decoder is not worth decoding any more.
        arrived_s = time.monotonic()
        try:
            while self._more() and time.monotonic() < arrived_s + STEP_S:
                bodies += self._parts.feed(self._receive(deadline_s))
        except CameraError as error:  # first what did arrive
            self._lost = error
        return self._newest(bodies, arrived_s)

    def interrupt(self) -> None:
        """Hang up."""
        self._stopped.set()
        if (line := self._socket) is not None:
            _hang_up(line)

    def close(self) -> None:
        """Hang up and free the socket."""
        if self._response is not None:
            self._response.close()
            self._response = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _ask(self, address: SplitResult) -> http.client.HTTPResponse:
        host, port = address.hostname or "", address.port or PORTS[address.scheme]
        connection = http.client.HTTPConnection(host, port, timeout=OPEN_S)
        self._socket = connection.sock = self._connected(host, port)
        if address.scheme == "https":
            self._socket = connection.sock = ssl.create_default_context().wrap_socket(
                connection.sock, server_hostname=host
            )
        headers = {"User-Agent": "edgeseg", "Accept": "multipart/x-mixed-replace, */*"}
        if address.username is not None:
            pair = f"{unquote(address.username)}:{unquote(address.password or '')}"
            headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        path = (address.path or "/") + (f"?{address.query}" if address.query else "")
        connection.request("GET", path, headers=headers)
        self._response = connection.getresponse()
        return self._response

    def _connected(self, host: str, port: int) -> socket.socket:
        """Return a connected socket; unlike `socket.create_connection` this ends when it is interrupted."""
        fault: OSError = OSError("no such host")
        deadline_s = time.monotonic() + OPEN_S
        for family, kind, protocol, _, place in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            line = socket.socket(family, kind, protocol)
            line.setblocking(False)
            line.connect_ex(place)
            while not self._stopped.is_set() and time.monotonic() < deadline_s:
                if select.select([], [line], [line], STEP_S)[1]:
                    break
            status = line.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if status == 0 and select.select([], [line], [], 0)[1] and not self._stopped.is_set():
                line.settimeout(OPEN_S)
                return line
            line.close()
            fault = ConnectionRefusedError(status, "") if status else TimeoutError()
        raise fault

    def _accept(self, response: http.client.HTTPResponse) -> None:
        kind = response.getheader("Content-Type", "")
        if response.status == 401:
            scheme = response.getheader("WWW-Authenticate", "").partition(" ")[0].lower()
            if scheme == "digest":  # FFMPEG knows it
                raise OtherContent(f"{self._shown}: asks for digest authentication.")
            raise self._no_stream("it asks for a user and a password; write them as http://USER:PASSWORD@HOST/PATH")
        if response.status != 200:
            raise self._no_stream(f"it answers {response.status} {response.reason}")
        if not kind.lower().startswith("multipart/"):
            raise OtherContent(f"{self._shown}: sends {kind or 'something'} and no MJPEG.")
        boundary = re.search(r'boundary="?([^";]+)', kind, re.IGNORECASE)
        self._parts = Parts(boundary[1].strip().encode() if boundary else b"")

    def _receive(self, deadline_s: float) -> bytes:
        left_s = deadline_s - time.monotonic()
        if self._socket is None or self._response is None or self._stopped.is_set():
            raise CameraError(f"{self._shown}: was closed.")
        try:
            if left_s <= 0:
                raise TimeoutError
            self._socket.settimeout(left_s)
            data = self._response.read1(CHUNK_BYTES)
        except TimeoutError:
            raise CameraError(f"{self._shown}: no image for {self._stall_s:g} s.") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise CameraError(f"{self._shown}: the connection broke: {_words(error)}.") from None
        if not data:
            raise CameraError(f"{self._shown}: stopped giving frames: the server hung up.")
        return data

    def _newest(self, bodies: list[bytes], arrived_s: float) -> Image | None:
        import cv2

        whole = [body for body in bodies if not damage(body)]
        self._damaged = len(bodies) - len(whole)
        while whole:
            image = cv2.imdecode(np.frombuffer(whole.pop(), np.uint8), cv2.IMREAD_COLOR)
            if image is not None:
                return Image(image=image, captured_s=arrived_s, passed=len(whole))
            self._damaged += 1
        self._damaged -= 1
        return None

    def _more(self) -> bool:
        line = self._socket
        if line is None or self._stopped.is_set():
            return False
        pending = isinstance(line, ssl.SSLSocket) and line.pending() > 0
        return pending or bool(select.select([line], [], [], 0)[0])

    def _no_stream(self, reason: str) -> CameraError:
        return CameraError(
            f"{self._shown}: does not open as a video stream: {reason}. Is the address right, and is it sending now?"
        )


def _hang_up(line: socket.socket) -> None:
    # Closing would not wake a thread that waits in recv; this does.
    try:
        line.shutdown(socket.SHUT_RDWR)
    except OSError:  # not connected yet, or no longer
        return


def _words(error: BaseException) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "nobody answers there"
    if isinstance(error, TimeoutError):
        return f"no answer within {OPEN_S:g} s"
    if isinstance(error, socket.gaierror):
        return "no such host"
    return str(error) or type(error).__name__
