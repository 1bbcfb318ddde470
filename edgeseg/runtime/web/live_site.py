"""The live page of a loop: the page, what the model is, and the newest frame."""

from __future__ import annotations

import http
import json
import secrets
from types import MappingProxyType
from typing import TYPE_CHECKING

from edgeseg.runtime.web.site import BASE_SHEET, BYTES, JSON, Site, WebAnswer, packaged

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edgeseg.runtime.web.newest import NewestFrame
    from edgeseg.runtime.web.site import WebRequest

PAGE = {"/": "page.html", **{f"/{name}": name for name in ("page.js", "page.css", BASE_SHEET)}}
WAIT_S = 4.0
"""A response without a frame is sent after this long, so that the page can say why there is none."""


class LiveSite(Site):
    """Serves `newest` to viewers; `about` describes the model, and `trouble()` says why no frame comes.

    `X-Run` tells a page that was left open that this is another run, maybe of another model.
    """

    most_bytes = 0

    def __init__(self, *, newest: NewestFrame, about: dict[str, object], trouble: Callable[[], str]) -> None:
        self.headers: Mapping[str, str] = MappingProxyType({"X-Run": secrets.token_hex(8)})
        self._newest = newest
        self._about = json.dumps(about, ensure_ascii=False).encode()
        self._trouble = trouble

    def answer(self, request: WebRequest) -> WebAnswer | None:
        """Return the page, one of its parts, or a frame."""
        if request.path in PAGE:
            return packaged(__package__, PAGE[request.path])
        # Of the newest frame, HEAD asks only whether the path exists.
        if request.path == "/about" or (request.path == "/frame" and request.method == "HEAD"):
            return WebAnswer(body=self._about, kind=JSON)
        return self._frame(request) if request.path == "/frame" else None

    def close(self) -> None:
        """Wake every waiting viewer."""
        self._newest.close()

    def _frame(self, request: WebRequest) -> WebAnswer:
        after = request.query.get("after", ["0"])[0]
        if not (after.isascii() and after.isdecimal() and len(after) < 19):
            return WebAnswer(status=http.HTTPStatus.BAD_REQUEST, body=b"after must be a whole number.\n", keep=True)
        found = self._newest.message(after=int(after), wait_s=WAIT_S)
        if found is None:
            trouble = json.dumps({"trouble": self._trouble()}).encode()
            return WebAnswer(status=http.HTTPStatus.ACCEPTED, body=trouble, kind=JSON, keep=True)
        figures = {"X-Frame": str(found[0]), "X-Viewers": str(request.viewers)}
        return WebAnswer(body=found[1], kind=BYTES, headers=figures, keep=True)
