"""Network streams: http(s):// MJPEG by our own reader, everything else through FFmpeg.

A file or a playlist that has an end is not a live source: all of its frames are read.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from edgeseg.errors import InputError
from edgeseg.runtime.cameras.address import Address, address_of, with_login
from edgeseg.runtime.cameras.decoded import INSTALL
from edgeseg.runtime.cameras.feed import STALL_S
from edgeseg.runtime.cameras.http_camera import HttpCamera, Stream
from edgeseg.runtime.cameras.media import has_pyav
from edgeseg.runtime.cameras.source import Request, SourceStatus

if TYPE_CHECKING:
    from edgeseg.core.protocols import Camera


class StreamSource:
    """rtsp, rtsps, http, https."""

    schemes = ("rtsp", "rtsps", "http", "https")

    def camera(self, request: Request) -> Camera:
        """Return a camera on a stream, which is live unless its server says that it has an end."""
        address = address_of(request.uri)
        if not re.search(r"://[^/#]", address.uri):
            raise InputError(f"{request.shown}: has no host. Write it as rtsp://HOST/PATH or http://HOST/PATH.")
        request, own = request.without_login(address).options("stall", "login", mark="#")
        uri = address.uri.partition("#")[0]
        address = with_login(Address(uri=uri, login=address.login), file=own.get("login"))
        stream = Stream(address=address, request=request, stall_s=_stall(own.get("stall")))
        if uri.lower().startswith("http"):
            return HttpCamera(stream)
        return stream.live(lambda: stream.feed(address))

    def status(self) -> SourceStatus:
        """Return that MJPEG over HTTP always works, and what reads the rest."""
        import cv2

        uris = ("http://HOST/PATH", "https://HOST/PATH", "rtsp://HOST/PATH")
        if has_pyav():
            return SourceStatus(uris=uris, works=True, detail="MJPEG over HTTP, and what FFmpeg in PyAV reads")
        if cv2.videoio_registry.hasBackend(cv2.CAP_FFMPEG):
            return SourceStatus(uris=uris, works=True, detail="MJPEG over HTTP, and what FFmpeg in OpenCV reads")
        return SourceStatus(uris=uris, works=True, detail="MJPEG over HTTP only: no FFmpeg here", fix=INSTALL)


def _stall(text: str | None) -> float:
    if text is None:
        return STALL_S
    if not re.fullmatch(r"\d{1,4}(\.\d+)?", text) or float(text) <= 0:
        raise InputError(f"stall={text} is not a number of seconds, such as stall=5.")
    return float(text)


CAMERA = StreamSource()
