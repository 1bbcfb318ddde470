"""What a page consists of: a `Site` answers the requests that the server has let in."""

from __future__ import annotations

import http
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Protocol

PLAIN_TEXT = "text/plain; charset=utf-8"
JSON = "application/json"
CONTENT_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".wasm": "application/wasm",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".json": JSON,
}
"""The Content-Type of a file by its ending; a module or WebAssembly under another one is refused by browsers."""
BYTES = "application/octet-stream"
BASE_SHEET = "base.css"
"""The style sheet in this package that every page begins with: colours, type, header, buttons, figures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebRequest:
    """One request with access; `viewers` is how many connections viewers have open."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    body: bytes
    viewers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WebAnswer:
    """The response: a body, or the file to send. `keep` leaves the connection open for the next request."""

    status: http.HTTPStatus = http.HTTPStatus.OK
    body: bytes | Path = b""
    kind: str = PLAIN_TEXT
    headers: Mapping[str, str] = field(default_factory=dict)
    keep: bool = False


class Site(Protocol):
    """Answers requests, from many threads at once. `headers` are sent with everything, in place of the server's own.

    `most_bytes` is the largest body of a POST that is read; 0: the site takes none.
    """

    headers: Mapping[str, str]
    most_bytes: int

    def answer(self, request: WebRequest) -> WebAnswer | None:
        """Return the answer, None where nothing is at that path."""
        ...

    def close(self) -> None:
        """Let waiting requests end."""
        ...


def packaged(package: str, name: str) -> WebAnswer:
    """Return a file of a package, such as a page's script."""
    content = resources.files(package).joinpath(name).read_bytes()
    return WebAnswer(body=content, kind=CONTENT_TYPES[f".{name.rpartition('.')[2]}"])
