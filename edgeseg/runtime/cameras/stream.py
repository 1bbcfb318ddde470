"""Network streams, rtsp:// and http(s)://, through OpenCV's FFMPEG."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from edgeseg.core.protocols import Camera
from edgeseg.errors import CameraError, InputError
from edgeseg.runtime.cameras.capture import LiveCapture, open_capture
from edgeseg.runtime.cameras.newest import STALL_S
from edgeseg.runtime.cameras.source import Request

if TYPE_CHECKING:
    import cv2

OPEN_S = 8.0
OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"


class StreamSource:
    """rtsp, rtsps, http, https."""

    schemes = ("rtsp", "rtsps", "http", "https")

    def camera(self, request: Request) -> Camera:
        """Return a live camera on a stream."""
        if not re.match(r"//[^/]", request.rest):
            raise InputError(f"{request.uri}: names no host. Write it as rtsp://HOST/PATH or http://HOST/PATH.")
        uri, shown = request.uri, without_password(request.uri)
        return LiveCapture(
            lambda: _connect(uri, shown), name=shown, size=request.size, fps=request.fps, stall_s=STALL_S
        )


def without_password(uri: str) -> str:
    """Return a stream's address as it may be shown: user and password are left out."""
    return re.sub(r"//[^/@]*@", "//", uri)


@contextlib.contextmanager
def _stream_options() -> Iterator[None]:
    """Hand FFMPEG its options for a live stream, unless the person has set some; files must not see them.

    UDP loses packets on Wi-Fi, and pictures tear; `nobuffer` keeps FFMPEG from queueing frames before ours.
    """
    if OPTIONS in os.environ:
        yield
        return
    os.environ[OPTIONS] = "rtsp_transport;tcp|fflags;nobuffer"
    try:
        yield
    finally:
        del os.environ[OPTIONS]


def _connect(uri: str, shown: str) -> cv2.VideoCapture:
    import cv2

    limits = {
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC: int(1000 * OPEN_S),
        cv2.CAP_PROP_READ_TIMEOUT_MSEC: int(1000 * STALL_S),
    }
    with _stream_options():
        capture = open_capture(uri, backend=cv2.CAP_FFMPEG, parameters=limits)
    if capture is None:
        raise CameraError(f"{shown}: does not open as a video stream. Is the address right, and is it sending now?")
    return capture


CAMERA = StreamSource()
