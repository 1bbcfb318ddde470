"""The HTTP side of our pages: access, limits, TLS and headers; a `Site` answers. Standard library only."""

from __future__ import annotations

import hmac
import http
import http.server
import ipaddress
import socket
import threading
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from edgeseg.errors import InputError
from edgeseg.runtime.cameras.deadline_socket import hang_up
from edgeseg.runtime.web.address import reachable_name
from edgeseg.runtime.web.connections import MOST_VIEWERS, Connections
from edgeseg.runtime.web.site import PLAIN_TEXT, WebAnswer, WebRequest

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

    from edgeseg.runtime.web.address import WebAddress
    from edgeseg.runtime.web.site import Site

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
IDLE_S = 20.0
STRANGER_S = 5.0
"""A connection without access yet has this long for each part of its request."""
RETRY_S = 5
PART_BYTES = 1 << 16
BODY_TYPE = "application/octet-stream"
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
        site: Site,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.token = token
        self.site = site
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
        self.site.close()
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
        line = request
        try:
            request.settimeout(STRANGER_S)
            if self.tls is not None:
                # The handshake belongs here: in the accepting thread, one slow client would stop all others. Wrapping
                # takes the descriptor from `request`, which could no longer be hung up.
                line = self.tls.wrap_socket(request, server_side=True, do_handshake_on_connect=False)
                self.connections.replace(line)
                line.do_handshake()
            self.process_request_thread(line, client_address)
        except OSError:  # no TLS, or gone already
            hang_up(line)
            line.close()
        finally:
            self.connections.remove()


def start_server(site: Site, *, address: WebAddress, token: str | None) -> tuple[WebServer, str]:
    """Return a started server of `site`, and the address of its page, with the token unless that comes from a file.

    Raises:
        InputError: nothing can be served at that address, or the certificate cannot be used.
    """
    tls = address.tls()
    try:
        server = WebServer((address.host, address.port), token=token, site=site, tls=tls)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"The web page cannot be served at {address.host}:{address.port}: {reason}. Give another --web HOST:PORT."
        ) from None
    server.start()
    host = reachable_name() if address.is_any else address.host
    url = f"{'http' if tls is None else 'https'}://{f'[{host}]' if ':' in host else host}:{server.server_address[1]}/"
    # A fixed token is a secret that must not reach a log.
    return server, url if token is None or address.token_file is not None else f"{url}?token={token}"


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
        else:
            self.connection.settimeout(IDLE_S)
            self._ask_site(url.path, query)

    def do_HEAD(self) -> None:
        """Answer as GET would, without the body."""
        self.do_GET()

    def do_POST(self) -> None:
        """Answer one request with a body."""
        self.do_GET()

    def _ask_site(self, path: str, query: dict[str, list[str]]) -> None:
        body = self._body() if self.command == "POST" else b""
        if isinstance(body, http.HTTPStatus):
            self._answer(body, f"{body.description or body.phrase}.\n".encode())
            return
        made = self.server.site.answer(
            WebRequest(
                method=self.command, path=path, query=query, body=body, viewers=self.server.connections.viewers()
            )
        )
        if made is None:
            made = WebAnswer(status=http.HTTPStatus.NOT_FOUND, body=b"Nothing is here.\n")
        self.close_connection = not made.keep or self.headers.get("Connection", "").lower() == "close"
        self._answer(made.status, made.body, kind=made.kind, headers=dict(made.headers))

    def _body(self) -> bytes | http.HTTPStatus:
        """Return the body of a POST, or the status that refuses it."""
        # A page of another origin can send a form, but not this type: its browser would ask for permission first.
        if self.server.site.most_bytes == 0:
            return http.HTTPStatus.METHOD_NOT_ALLOWED
        if self.headers.get("Content-Type", "") != BODY_TYPE:
            return http.HTTPStatus.UNSUPPORTED_MEDIA_TYPE
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdecimal() and len(length) < 12):
            return http.HTTPStatus.LENGTH_REQUIRED
        if int(length) > self.server.site.most_bytes:
            return http.HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        body = self.rfile.read(int(length))
        return body if len(body) == int(length) else http.HTTPStatus.BAD_REQUEST

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

    def _answer(
        self,
        status: http.HTTPStatus,
        body: bytes | Path,
        *,
        kind: str = PLAIN_TEXT,
        headers: dict[str, str] | None = None,
    ) -> None:
        size = len(body) if isinstance(body, bytes) else body.stat().st_size
        self.send_response(status)
        for name, value in {**HEADERS, **self.server.site.headers, **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(size))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command == "HEAD":
            return
        if isinstance(body, bytes):
            self.wfile.write(body)
            return
        with body.open("rb") as stream:
            # In parts: the time limit is for each of them, not for a file of megabytes on a slow network.
            while part := stream.read(PART_BYTES):
                self.wfile.write(part)
