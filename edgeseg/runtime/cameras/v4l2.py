"""Cameras of this machine: V4L2 on Linux, the system's own interface elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.core.protocols import Camera
from edgeseg.errors import CameraError, InputError
from edgeseg.runtime.cameras.capture import LiveCapture, open_capture
from edgeseg.runtime.cameras.newest import STALL_S
from edgeseg.runtime.cameras.source import Request

if TYPE_CHECKING:
    import cv2


class V4L2Source:
    """`0`, `v4l2:0` or `v4l2:/dev/video0`."""

    schemes = ("v4l2",)

    def camera(self, request: Request) -> Camera:
        """Return a live camera on a device of this machine."""
        device = request.rest or "0"
        if not device.isdecimal() and not device.startswith("/"):
            raise InputError(f"{request.uri}: write a camera as 0, v4l2:0 or v4l2:/dev/video0.")
        return LiveCapture(
            lambda: _connect(device, request), name=_title(device), size=request.size, fps=request.fps, stall_s=STALL_S
        )


def _connect(device: str, request: Request) -> cv2.VideoCapture:
    import cv2

    linux = sys.platform.startswith("linux")
    path = Path(f"/dev/video{device}" if device.isdecimal() else device)
    if linux and not path.exists():
        raise CameraError(f"No camera at {_title(device)}: {path} does not exist. {_others()}")
    source: str | int = int(device) if device.isdecimal() else device
    capture = open_capture(source, backend=cv2.CAP_V4L2 if linux else cv2.CAP_ANY, parameters={})
    if capture is None:
        raise CameraError(f"The camera at {_title(device)} does not open: is it in use, or may you not read it?")
    if request.size is not None:
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, request.size[1])
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, request.size[0])
    if request.fps is not None:
        capture.set(cv2.CAP_PROP_FPS, request.fps)
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    return capture


def _title(device: str) -> str:
    return f"index {device}" if device.isdecimal() else device


def _others() -> str:
    found = sorted(path.name for path in Path("/dev").glob("video*"))
    listed = ", ".join(f"/dev/{name}" for name in found) or "none"
    return f"Cameras here: {listed}. Without one, use --source synthetic."


CAMERA = V4L2Source()
