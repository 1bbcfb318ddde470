"""The sink that serves the page."""

from __future__ import annotations

import secrets
import socket
from typing import TYPE_CHECKING

from edgeseg.errors import InputError
from edgeseg.runtime.web.newest import NewestFrame
from edgeseg.runtime.web.server import WebServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from edgeseg.core.spec import ModelSpec
    from edgeseg.runtime.sinks.base import View
    from edgeseg.runtime.web.address import WebAddress

TOKEN_BYTES = 18


class WebSink:
    """The live page at `address`; beyond this machine it asks for a random token, which stands in `url`.

    A viewer gets the newest frame when it asks for one, so a slow one misses frames and holds nobody up. `trouble` is
    asked why no frame comes; `on_open(url)` is called once the page can be opened.
    """

    def __init__(
        self,
        spec: ModelSpec,
        *,
        address: WebAddress,
        title: str = "edgeseg",
        trouble: Callable[[], str] = str,
        on_open: Callable[[str], None] | None = None,
    ) -> None:
        self.url = ""
        self._about: dict[str, object] = {
            "title": title,
            "classes": list(spec.classes),
            "palette": [list(color) for color in spec.palette],
            "notice": spec.notice,
        }
        self._newest = NewestFrame(classes=spec.classes, palette=spec.palette)
        self._address = address
        self._trouble = trouble
        self._on_open = on_open
        self._server: WebServer | None = None

    def __enter__(self) -> WebSink:
        token = None if self._address.is_loopback else secrets.token_urlsafe(TOKEN_BYTES)
        where = self._address
        try:
            self._server = WebServer(
                (where.host, where.port), token=token, newest=self._newest, about=self._about, trouble=self._trouble
            )
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise InputError(
                f"The web page cannot be served at {where.host}:{where.port}: {reason}. Give another --web HOST:PORT."
            ) from None
        self._server.start()
        host = reachable_name() if where.is_any else where.host
        port = self._server.server_address[1]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}/" + (f"?token={token}" if token else "")
        if self._on_open is not None:
            self._on_open(self.url)
        return self

    def write(self, view: View) -> bool:
        """Make the view the newest one; returns at once, whoever watches."""
        self._newest.put(view)
        return True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None


def reachable_name() -> str:
    """Return the address under which others on the network most likely reach this machine; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Connecting a datagram socket only asks the routing table. 192.0.2.0/24 is for documentation (RFC 5737).
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()
