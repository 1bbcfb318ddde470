"""MJPEG over HTTP: our own reader, because a read must end in time, and every corrupt image counts."""

from __future__ import annotations

import base64
import http.client
import re
import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

import numpy as np

from edgeseg.errors import CameraError
from edgeseg.runtime.cameras.deadline_socket import STEP_S, DeadlineSocket, connected, hang_up
from edgeseg.runtime.cameras.feed import OPEN_S, CameraImage
from edgeseg.runtime.cameras.multipart import Parts, damage

if TYPE_CHECKING:
    from edgeseg.runtime.cameras.address import Address

_CHUNK_BYTES = 1 << 16
REDIRECTS = 5
LARGEST_PLAYLIST = 1 << 20
PORTS = {"http": 80, "https": 443}
MOVED = (301, 302, 303, 307, 308)


class OtherContent(CameraError):
    """The address responds, but not with a series of JPEG images: with `kind`, of `length` bytes if known.

    `address` is the final one after redirects, `text` the beginning of a playlist.
    """

    def __init__(
        self, message: str, *, address: Address, kind: str = "", length: int | None = None, text: str = ""
    ) -> None:
        super().__init__(message)
        self.address = address
        self.kind = kind
        self.length = length
        self.text = text


class HttpFeed:
    """One connection to `address`."""

    fps: float | None = None

    def __init__(self, address: Address, *, stall_s: float) -> None:
        self._address = address
        self._shown = address.shown
        self._stall_s = stall_s
        self._stopped = threading.Event()
        self._socket: DeadlineSocket | None = None
        self._response: http.client.HTTPResponse | None = None
        self._parts = Parts(b"")
        self._damaged = 0
        self._lost: CameraError | None = None

    def open(self) -> None:
        """Connect and read the headers; raises `OtherContent` for anything but MJPEG, `CameraError` on failure."""
        address, deadline_s = self._address, time.monotonic() + OPEN_S
        try:
            for _ in range(REDIRECTS):
                response = self._ask(address, deadline_s)
                place = response.getheader("Location")
                if response.status not in MOVED or not place:
                    self._accept(response, address)
                    return
                self.close()
                address = address.moved(urljoin(address.uri, place))
                if urlsplit(address.uri).scheme not in PORTS:
                    raise self._no_stream(f"it redirects to {address.shown}, which is not an HTTP address")
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._no_stream(_reason(error)) from None
        raise self._no_stream("it redirects without end")

    def read(self) -> CameraImage | None:
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
        # Images queued behind a slow decoder are not worth decoding any more.
        arrived_s = time.monotonic()
        try:
            while self._more() and time.monotonic() < arrived_s + STEP_S:
                bodies += self._parts.feed(self._receive(deadline_s))
        except CameraError as error:  # deliver first what did arrive
            self._lost = error
        return self._newest(bodies, arrived_s)

    def interrupt(self) -> None:
        """Hang up."""
        self._stopped.set()
        if (line := self._socket) is not None:
            hang_up(line.line)

    def close(self) -> None:
        """Hang up and free the socket."""
        if self._response is not None:
            self._response.close()
            self._response = None
        if self._socket is not None:
            self._socket.shut()
            self._socket = None

    def _ask(self, address: Address, deadline_s: float) -> http.client.HTTPResponse:
        parts = urlsplit(address.uri)
        host, port = parts.hostname or "", parts.port or PORTS[parts.scheme]
        line = connected(
            host, port, deadline_s=deadline_s, stopped=self._stopped.is_set, secure=parts.scheme == "https"
        )
        connection = http.client.HTTPConnection(host, port)
        connection.sock = self._socket = DeadlineSocket(line, deadline_s=deadline_s)
        headers = {"User-Agent": "edgeseg", "Accept": "multipart/x-mixed-replace, */*"}
        if address.login is not None:
            pair = f"{address.login.user}:{address.login.password}"
            headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", path, headers=headers)
        self._response = connection.getresponse()
        return self._response

    def _accept(self, response: http.client.HTTPResponse, address: Address) -> None:
        kind = response.getheader("Content-Type", "")
        if response.status == 401:
            scheme = response.getheader("WWW-Authenticate", "").partition(" ")[0].lower()
            if scheme == "digest":  # FFmpeg knows it
                raise OtherContent(f"{self._shown}: asks for digest authentication.", address=address)
            if address.login is not None:
                raise self._no_stream("the user name or password is wrong")
            raise self._no_stream(
                "it requires a user and a password; write them as http://USER:PASSWORD@HOST/PATH, or #login=FILE"
            )
        if response.status != 200:
            raise self._no_stream(f"it responds {response.status} {response.reason}")
        if not kind.lower().startswith("multipart/"):
            text = self._playlist(response) if is_playlist(kind, address.uri) else ""
            raise OtherContent(
                f"{self._shown}: sends {kind or 'something else'}, not MJPEG.",
                address=address,
                kind=kind.lower(),
                length=response.length,
                text=text,
            )
        boundary = re.search(r'boundary="?([^";]+)', kind, re.IGNORECASE)
        self._parts = Parts(boundary[1].strip().encode() if boundary else b"")

    def _playlist(self, response: http.client.HTTPResponse) -> str:
        return response.read(LARGEST_PLAYLIST).decode(errors="replace")

    def _receive(self, deadline_s: float) -> bytes:
        if self._socket is None or self._response is None or self._stopped.is_set():
            raise CameraError(f"{self._shown}: was closed.")
        try:
            self._socket.deadline_s = deadline_s
            data = self._response.read1(_CHUNK_BYTES)
        except TimeoutError:
            raise CameraError(f"{self._shown}: no image for {self._stall_s:g} s.") from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise CameraError(f"{self._shown}: the connection broke: {_reason(error)}.") from None
        if not data:
            raise CameraError(f"{self._shown}: stopped sending frames: the server closed the connection.")
        return data

    def _newest(self, bodies: list[bytes], arrived_s: float) -> CameraImage | None:
        import cv2

        whole = [body for body in bodies if not damage(body)]
        self._damaged = len(bodies) - len(whole)
        while whole:
            try:
                image = cv2.imdecode(np.frombuffer(whole.pop(), np.uint8), cv2.IMREAD_COLOR)
            except cv2.error:  # a header that OpenCV refuses
                image = None
            if image is not None:
                return CameraImage(image=image, captured_s=arrived_s, passed=len(whole))
            self._damaged += 1
        self._damaged -= 1
        return None

    def _more(self) -> bool:
        line = self._socket
        return line is not None and not self._stopped.is_set() and line.pending()

    def _no_stream(self, reason: str) -> CameraError:
        return CameraError(
            f"{self._shown}: does not open as a video stream: {reason}. Is the address right, and is it sending now?"
        )


def is_playlist(kind: str, uri: str) -> bool:
    """Return whether a response is an HLS playlist (RFC 8216), by its type or its address."""
    return "mpegurl" in kind.lower() or urlsplit(uri).path.lower().endswith((".m3u8", ".m3u"))


def _reason(error: BaseException) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not trusted ({error.verify_message}); if it is the camera's own, "
            "set SSL_CERT_FILE to a file that holds it"
        )
    if isinstance(error, ssl.SSLError):
        return f"TLS fails ({error.reason or error})"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, TimeoutError):
        return f"no response within {OPEN_S:g} s"
    if isinstance(error, socket.gaierror):
        return "no such host"
    return str(error) or type(error).__name__
