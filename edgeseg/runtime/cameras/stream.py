"""Network streams: http(s):// MJPEG by our own reader, everything else through OpenCV's FFMPEG."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from edgeseg.errors import CameraError, InputError
from edgeseg.runtime.cameras.capture import CaptureFeed, open_capture
from edgeseg.runtime.cameras.feed import OPEN_S, STALL_S, Feed, Image
from edgeseg.runtime.cameras.ffmpeg_feed import LIVE_OPTIONS, OPTIONS, FfmpegFeed
from edgeseg.runtime.cameras.http_feed import HttpFeed, OtherContent
from edgeseg.runtime.cameras.live import LiveCamera
from edgeseg.runtime.cameras.source import Request, SourceStatus

if TYPE_CHECKING:
    import cv2

    from edgeseg.core.protocols import Camera


class StreamSource:
    """rtsp, rtsps, http, https."""

    schemes = ("rtsp", "rtsps", "http", "https")

    def camera(self, request: Request) -> Camera:
        """Return a live camera on a stream."""
        if not re.match(r"//[^/]", request.rest):
            raise InputError(f"{request.uri}: names no host. Write it as rtsp://HOST/PATH or http://HOST/PATH.")
        request, own = request.options("stall", mark="#")
        stall_s = _stall(own.get("stall"))
        uri = request.uri.partition("#")[0]
        shown = without_password(uri)
        kind = HttpOrFfmpeg if uri.lower().startswith("http") else ffmpeg_feed
        return LiveCamera(
            lambda: kind(uri, shown=shown, stall_s=stall_s),
            name=shown,
            size=request.size,
            fps=request.fps,
            reconnect=request.reconnect,
            stall_s=stall_s,
        )

    def status(self) -> SourceStatus:
        """Return whether OpenCV has FFMPEG; MJPEG over HTTP needs none."""
        import cv2

        uris = ("http://HOST/PATH", "https://HOST/PATH", "rtsp://HOST/PATH")
        if cv2.videoio_registry.hasBackend(cv2.CAP_FFMPEG):
            return SourceStatus(uris=uris, works=True, detail="MJPEG over HTTP, and what FFMPEG in OpenCV reads")
        mend = "pip install opencv-python-headless"
        return SourceStatus(uris=uris, works=True, detail="MJPEG over HTTP only: this OpenCV has no FFMPEG", mend=mend)


class HttpOrFfmpeg:
    """MJPEG by our own reader; another kind of video at the same address through FFMPEG."""

    fps: float | None = None

    def __init__(self, uri: str, *, shown: str, stall_s: float) -> None:
        self._uri = uri
        self._shown = shown
        self._stall_s = stall_s
        self._feed: Feed = HttpFeed(uri, shown=shown, stall_s=stall_s)
        self._stopped = False

    def open(self) -> None:
        """Connect; raises `CameraError`."""
        try:
            self._feed.open()
        except OtherContent as other:
            self._feed.close()
            self._feed = ffmpeg_feed(self._uri, shown=self._shown, stall_s=self._stall_s)
            if self._stopped:
                raise CameraError(f"{self._shown}: was closed.") from None
            try:
                self._feed.open()
            except CameraError as error:
                raise CameraError(f"{other} {error}") from None
            self.fps = self._feed.fps

    def read(self) -> Image | None:
        """Return the next image, or None for a damaged one."""
        return self._feed.read()

    def interrupt(self) -> None:
        """Hang up."""
        self._stopped = True
        self._feed.interrupt()

    def close(self) -> None:
        """Hang up and free everything."""
        self._feed.close()


def ffmpeg_feed(uri: str, *, shown: str, stall_s: float) -> Feed:
    """Return a feed through OpenCV's FFMPEG: in a program of its own where the system lets its pipes be waited for."""
    if os.name == "posix":
        return FfmpegFeed(uri, shown=shown, stall_s=stall_s)
    return CaptureFeed(lambda: _connect(uri, shown, stall_s), name=shown)


def without_password(uri: str) -> str:
    """Return a stream's address as it may be shown: user and password are left out."""
    return re.sub(r"//[^/@]*@", "//", uri)


def _stall(text: str | None) -> float:
    if text is None:
        return STALL_S
    if not re.fullmatch(r"\d{1,4}(\.\d+)?", text) or float(text) <= 0:
        raise InputError(f"stall={text} is no number of seconds, such as stall=5.")
    return float(text)


def _connect(uri: str, shown: str, stall_s: float) -> cv2.VideoCapture:
    import cv2

    limits = {
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC: int(1000 * OPEN_S),
        cv2.CAP_PROP_READ_TIMEOUT_MSEC: int(1000 * stall_s),
    }
    os.environ.setdefault(OPTIONS, LIVE_OPTIONS)
    capture = open_capture(uri, backend=cv2.CAP_FFMPEG, parameters=limits)
    if capture is None:
        raise CameraError(f"{shown}: does not open as a video stream. Is the address right, and is it sending now?")
    return capture


CAMERA = StreamSource()
