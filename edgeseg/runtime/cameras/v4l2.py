"""Cameras of this machine: V4L2 on Linux, the system's own interface elsewhere."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.errors import CameraError, InputError
from edgeseg.runtime.cameras.capture import CaptureFeed, open_capture
from edgeseg.runtime.cameras.feed import STALL_S
from edgeseg.runtime.cameras.live import LiveCamera
from edgeseg.runtime.cameras.source import Request, SourceStatus
from edgeseg.runtime.cameras.v4l2_devices import Device, describe_v4l2, devices

if TYPE_CHECKING:
    import cv2

    from edgeseg.core.protocols import Camera

LIMIT = "OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT"


class V4L2Source:
    """`0`, `v4l2:0` or `v4l2:/dev/video0`."""

    schemes = ("v4l2",)

    def camera(self, request: Request) -> Camera:
        """Return a live camera on a device of this machine."""
        request, _ = request.options()
        device = request.rest or "0"
        if not device.isdecimal() and not device.startswith("/"):
            raise InputError(f"{request.shown}: write a camera as 0, v4l2:0 or v4l2:/dev/video0.")
        title = _title(device)
        return LiveCamera(
            lambda: CaptureFeed(lambda: _connect(device, request), name=title),
            name=title,
            size=request.size,
            fps=request.fps,
            reconnect=request.reconnect,
        )

    def status(self) -> SourceStatus:
        """Return how many cameras can be opened here."""
        uris = ("0", "v4l2:/dev/video0")
        if not _linux():
            return SourceStatus(uris=uris, works=True, detail="the system's own cameras, by number")
        found = devices()
        usable = [device for device in found if not device.fault]
        if usable:
            return SourceStatus(uris=uris, works=True, detail=", ".join(device.path for device in usable))
        if found:
            return SourceStatus(uris=uris, works=False, detail=f"{found[0].path}: {found[0].fault}", fix=found[0].fix)
        return SourceStatus(uris=uris, works=False, detail="no /dev/video*", fix="plug a camera in")


def _connect(device: str, request: Request) -> cv2.VideoCapture:
    # OpenCV waits ten seconds for a frame unless configured before its first use.
    os.environ.setdefault(LIMIT, str(round(STALL_S)))
    import cv2

    if _linux():
        _refuse(_path(device), _title(device), request)
    source: str | int = int(device) if device.isdecimal() else device
    capture = open_capture(source, backend=cv2.CAP_V4L2 if _linux() else cv2.CAP_ANY, parameters={})
    if capture is None:
        raise CameraError(f"The camera at {_title(device)} does not open: is it in use by another program?")
    if request.pixel_format is not None:  # before the size: the available sizes depend on it
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*request.pixel_format))
    if request.size is not None:
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, request.size[1])
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, request.size[0])
    if request.fps is not None:
        capture.set(cv2.CAP_PROP_FPS, request.fps)
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    return capture


def _refuse(path: Path, title: str, request: Request) -> None:
    """Raise for a device that is missing, not accessible, gives no images, or lacks the requested format."""
    if not path.exists():
        raise CameraError(f"No camera at {title}: {path} does not exist. {_others()}")
    found = describe_v4l2(path, title=path.name)
    if found is None:
        raise CameraError(f"{path}: gives no images (a camera's second node carries its metadata). {_others()}")
    if found.fault:
        step = f": {found.fix}" if found.fix else ""
        raise CameraError(f"{path}: {found.fault}{step}.".replace("DEVICE", str(path)))
    codes = [known.code for known in found.formats]
    if request.pixel_format and codes and request.pixel_format.strip() not in codes:
        raise InputError(f"{path}: has no pixel format {request.pixel_format}; it has {', '.join(codes)}.")


def _path(device: str) -> Path:
    return Path(f"/dev/video{device}" if device.isdecimal() else device)


def _title(device: str) -> str:
    return f"index {device}" if device.isdecimal() else device


def _others() -> str:
    found: tuple[Device, ...] = devices()
    listed = ", ".join(device.path for device in found) or "none"
    return f"Cameras here: {listed}. Without one, use --source synthetic."


def _linux() -> bool:
    return sys.platform.startswith("linux")


CAMERA = V4L2Source()
