"""The HTTP side: a page, its style and script, what the model is, and the newest frame. Standard library only."""

from __future__ import annotations

import hmac
import http
import http.server
import ipaddress
import json
import socket
import threading
from http.cookies import CookieError, SimpleCookie
from importlib import resources
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from edgeseg.runtime.cameras.deadline_socket import hang_up
from edgeseg.runtime.web.connections import MOST_VIEWERS, Connections

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from edgeseg.runtime.web.newest import NewestFrame

PAGE = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob: data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
COOKIE = "edgeseg"
WAIT_S = 4.0
"""A response without a frame is sent after this long, so that the page can say why there is none."""
IDLE_S = 20.0
STRANGER_S = 5.0
"""A connection without access yet has this long for each part of its request."""
RETRY_S = 5
NO_ACCESS = "An access token is needed: open the address that edgeseg printed, with ?token=... at its end."
TOO_MANY = f"{MOST_VIEWERS} viewers are connected, which is the limit. Try again soon."
NO_ACCESS_PAGE = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>edgeseg: no access</title></head>
<body><h1>No access</h1><p>{NO_ACCESS}</p></body></html>
"""


class WebServer(http.server.ThreadingHTTPServer):
    """Serves viewers until `close`; each connection has a thread, and all have ended when `close` returns."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = MOST_VIEWERS

    def __init__(
        self,
        address: tuple[str, int],
        *,
        token: str | None,
        newest: NewestFrame,
        about: dict[str, object],
        trouble: Callable[[], str],
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.token = token
        self.newest = newest
        self.about = json.dumps(about, ensure_ascii=False).encode()
        self.trouble = trouble
        self.tls = tls
        self.connections = Connections()
        super().__init__(address, Viewer)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.1,), name="edgeseg-web", daemon=True)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def close(self) -> None:
        """Stop serving; responses under way are cut off."""
        self.shutdown()
        self._thread.join()
        self.newest.close()
        self.connections.end()
        self.server_close()

    def process_request(self, request: socket.socket, client_address: object) -> None:  # type: ignore[override]
        """Serve one connection in a thread of its own."""
        thread = threading.Thread(
            target=self._serve_one, args=(request, client_address), name="edgeseg-viewer", daemon=True
        )
        self.connections.add(thread, request)
        thread.start()

    def handle_error(self, request: object, client_address: object) -> None:
        """Log nothing: a viewer may leave in the middle of a response."""

    def _serve_one(self, request: socket.socket, client_address: object) -> None:
        try:
            request.settimeout(STRANGER_S)
            # The handshake belongs here: in the accepting thread, one slow client would stop all others.
            line = request if self.tls is None else self.tls.wrap_socket(request, server_side=True)
            self.process_request_thread(line, client_address)
        except OSError:  # no TLS, or gone already
            hang_up(request)
            request.close()
        finally:
            self.connections.remove()


class Viewer(http.server.BaseHTTPRequestHandler):
    """One viewer's connection."""

    server: WebServer
    protocol_version = "HTTP/1.1"
    server_version = "edgeseg"
    sys_version = ""
    timeout = STRANGER_S
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Answer one request."""
        url = urlsplit(self.path)
        query = parse_qs(url.query)
        self.close_connection = True  # only a page that is being watched keeps its connection
        if not self._is_our_host():
            self._answer(http.HTTPStatus.MISDIRECTED_REQUEST, b"This page is not served under that name.\n")
        elif not self._may_see(query):
            self._refuse(url.path)
        elif not self.server.connections.admit():
            self._answer(http.HTTPStatus.SERVICE_UNAVAILABLE, TOO_MANY.encode(), headers={"Retry-After": str(RETRY_S)})
        elif "token" in query and url.path == "/":
            self._remember()
        elif url.path in PAGE:
            name, kind = PAGE[url.path]
            self._answer(http.HTTPStatus.OK, resources.files(__package__).joinpath(name).read_bytes(), kind=kind)
        elif url.path == "/about":
            self._answer(http.HTTPStatus.OK, self.server.about, kind="application/json")
        elif url.path == "/frame":
            self.connection.settimeout(IDLE_S)
            self.close_connection = self.headers.get("Connection", "").lower() == "close"
            self._send_frame(query)
        else:
            self._answer(http.HTTPStatus.NOT_FOUND, b"Nothing is here.\n")

    def do_HEAD(self) -> None:
        """Answer as GET would, without the body; for the newest frame, only that the path exists."""
        if urlsplit(self.path).path == "/frame":
            self.path = "/about"
        self.do_GET()

    def log_message(self, *_arguments: object) -> None:
        """Log nothing: stderr is the loop's."""

    def _is_our_host(self) -> bool:
        # Without a token, a foreign page could reach us under its own host name that resolves to 127.0.0.1.
        if self.server.token is not None:
            return True
        host = urlsplit(f"//{self.headers.get('Host', '')}").hostname or ""
        if host == "localhost":
            return True
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    def _may_see(self, query: dict[str, list[str]]) -> bool:
        token = self.server.token
        if token is None:
            return True
        given = [*query.get("token", []), *self._cookies()]
        return any(hmac.compare_digest(text.encode(), token.encode()) for text in given)

    def _refuse(self, path: str) -> None:
        if path == "/":
            self._answer(http.HTTPStatus.UNAUTHORIZED, NO_ACCESS_PAGE.encode(), kind="text/html; charset=utf-8")
        else:
            self._answer(http.HTTPStatus.UNAUTHORIZED, f"{NO_ACCESS}\n".encode())

    def _cookies(self) -> list[str]:
        try:
            cookies = SimpleCookie(self.headers.get("Cookie", ""))
        except CookieError:
            return []
        name = f"{COOKIE}_{self.server.server_address[1]}"
        return [cookies[name].value] if name in cookies else []

    def _remember(self) -> None:
        """Put the token into a cookie and take it out of the address, where a screenshot or history would show it."""
        name = f"{COOKIE}_{self.server.server_address[1]}"
        cookie = f"{name}={self.server.token}; HttpOnly; SameSite=Lax; Path=/{'; Secure' if self.server.tls else ''}"
        headers = {"Location": "/", **({"Set-Cookie": cookie} if self.server.token else {})}
        self._answer(http.HTTPStatus.SEE_OTHER, b"", headers=headers)

    def _send_frame(self, query: dict[str, list[str]]) -> None:
        after = query.get("after", ["0"])[0]
        if not (after.isascii() and after.isdecimal() and len(after) < 19):
            self._answer(http.HTTPStatus.BAD_REQUEST, b"after must be a whole number.\n")
            return
        found = self.server.newest.message(after=int(after), wait_s=WAIT_S)
        if found is None:
            trouble = json.dumps({"trouble": self.server.trouble()}).encode()
            self._answer(http.HTTPStatus.ACCEPTED, trouble, kind="application/json")
            return
        figures = {"X-Frame": str(found[0]), "X-Viewers": str(self.server.connections.viewers())}
        self._answer(http.HTTPStatus.OK, found[1], kind="application/octet-stream", headers=figures)

    def _answer(
        self,
        status: http.HTTPStatus,
        body: bytes,
        *,
        kind: str = "text/plain; charset=utf-8",
        headers: dict[str, str] | None = None,
    ) -> None:
        self.send_response(status)
        for name, value in {**HEADERS, **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
