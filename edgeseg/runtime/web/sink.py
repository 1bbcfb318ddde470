"""The sink that serves the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeseg.runtime.web.address import DEFAULT_HOST, DEFAULT_PORT, WebAddress, announced, web_address
from edgeseg.runtime.web.live_site import LiveSite
from edgeseg.runtime.web.newest import NewestFrame
from edgeseg.runtime.web.server import start_server

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from edgeseg.core.spec import ModelSpec
    from edgeseg.runtime.sinks.base import Sink, SinkContext, View
    from edgeseg.runtime.web.server import WebServer


class WebKind:
    """`web`, `web:HOST:PORT`, `web:HOST:PORT?token=FILE&cert=FILE&key=FILE`."""

    drawn = False  # the page draws its own overlay

    def check(self, argument: str, *, force: bool) -> None:
        """Raise `InputError` for an invalid address, or files that cannot be used."""
        address = _address(argument)
        address.token()
        address.tls()

    def writes(self, _argument: str) -> Path | None:
        """Return None: it writes no file."""
        return None

    def sink(self, argument: str, context: SinkContext) -> Sink:
        """Return the sink."""
        address = _address(argument)
        return WebSink(
            context.spec,
            address=address,
            title=context.title,
            trouble=context.trouble,
            on_open=lambda url: context.notify(announced(url, address)),
        )


class WebSink:
    """The live page at `address`; from other machines it needs a token, which is part of `url` if it is random.

    A viewer gets the newest frame when it requests one: a slow one misses frames and blocks nobody. `trouble()` says
    why no frame comes; `on_open(url)` is called once the page can be opened.
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
        site = LiveSite(newest=self._newest, about=self._about, trouble=self._trouble)
        self._server, self.url = start_server(site, address=self._address, token=self._address.token())
        if self._on_open is not None:
            self._on_open(self.url)
        return self

    def write(self, view: View) -> bool:
        """Make the view the newest one; returns at once, whether anyone is watching or not."""
        self._newest.put(view)
        return True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None


def _address(argument: str) -> WebAddress:
    return web_address(argument or f"{DEFAULT_HOST}:{DEFAULT_PORT}")


SINK = WebKind()
