"""Cameras on a board's ribbon cable: `csi://0`, through Argus on a Jetson and Picamera2 on a Raspberry Pi.

Not run on either board yet: see docs/verified.md.
"""

from __future__ import annotations

import contextlib
import importlib.util
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgeseg.errors import CameraError, EdgesegError, InputError, MissingDependency, UnsupportedError
from edgeseg.runtime.cameras.feed import CameraImage
from edgeseg.runtime.cameras.gstreamer import has_element, pipeline_camera
from edgeseg.runtime.cameras.live import LiveCamera
from edgeseg.runtime.cameras.source import Request, SourceStatus

if TYPE_CHECKING:
    from edgeseg.core.protocols import Camera

Board = Literal["jetson", "pi", "other"]
MODEL = Path("/proc/device-tree/model")
_SIZE = (720, 1280)
_FPS = 30.0
PICAMERA = "sudo apt install python3-picamera2, and a virtual environment made with --system-site-packages"
ARGUS = "install JetPack's multimedia packages: sudo apt install nvidia-l4t-gstreamer gstreamer1.0-tools"


class CsiSource:
    """`csi:`, `csi:0`, `csi://0`."""

    schemes = ("csi",)

    def camera(self, request: Request) -> Camera:
        """Return a live camera on a sensor; raises if this is not a known board, or its library is missing."""
        request, _ = request.options()
        number = request.rest.strip("/") or "0"
        if not number.isdecimal():
            raise InputError(f"{request.shown}: write it as csi://0, the sensor's number.")
        missing = _missing()
        if missing is not None:
            raise missing
        if board() == "jetson":
            return pipeline_camera(argus_pipeline(int(number), request), name=request.uri, request=request)
        return LiveCamera(
            lambda: PicameraFeed(int(number), name=request.uri, size=request.size or _SIZE, fps=request.fps or _FPS),
            name=request.uri,
            size=request.size,
            fps=request.fps,
            reconnect=request.reconnect,
        )

    def status(self) -> SourceStatus:
        """Return whether this is a board with a ribbon cable, and whether its library is installed."""
        uris = ("csi://0",)
        missing = _missing()
        if missing is None:
            return SourceStatus(uris=uris, works=True, detail="Argus" if board() == "jetson" else "Picamera2")
        if board() == "other":
            return SourceStatus(uris=uris, works=False, detail="this is neither a Jetson nor a Raspberry Pi")
        fix = ARGUS if board() == "jetson" else PICAMERA
        return SourceStatus(uris=uris, works=False, detail=str(missing), fix=fix)


def board() -> Board:
    """Return which kind of board this is, by its device tree."""
    try:
        model = MODEL.read_text(errors="replace").lower()
    except OSError:
        return "other"
    if "jetson" in model or "nvidia" in model:
        return "jetson"
    return "pi" if "raspberry pi" in model else "other"


def argus_pipeline(number: int, request: Request) -> str:
    """Return the pipeline of a Jetson's sensor: nvvidconv copies out of NVMM memory."""
    height, width = request.size or _SIZE
    rate = f"{round(request.fps or _FPS)}/1"
    return (
        f"nvarguscamerasrc sensor-id={number} ! video/x-raw(memory:NVMM),width={width},height={height},framerate={rate}"
        " ! nvvidconv ! video/x-raw,format=I420"
    )


class PicameraFeed:
    """One opened Raspberry Pi sensor."""

    def __init__(self, number: int, *, name: str, size: tuple[int, int], fps: float) -> None:
        self.fps: float | None = fps
        self._number = number
        self._name = name
        self._size = size
        self._camera: Any = None

    def open(self) -> None:
        """Start the sensor; raises `CameraError` with libcamera's words."""
        from picamera2 import Picamera2

        try:
            self._camera = Picamera2(self._number)
            height, width = self._size
            # picamera2's "RGB888" is BGR in memory. A queued image would be an old one.
            settings = self._camera.create_video_configuration(
                main={"size": (width, height), "format": "RGB888"}, controls={"FrameRate": self.fps}, queue=False
            )
            self._camera.configure(settings)
            self._camera.start()
        except (RuntimeError, IndexError, OSError) as error:
            raise CameraError(
                f"{self._name}: does not open: {error}. Check the ribbon cable, and rpicam-hello --list-cameras."
            ) from None

    def read(self) -> CameraImage:
        """Return the next image."""
        try:
            image = self._camera.capture_array("main")
        except (RuntimeError, OSError) as error:
            raise CameraError(f"{self._name}: stopped sending frames: {error}.") from None
        return CameraImage(image=image[:, :, :3], captured_s=time.monotonic())

    def interrupt(self) -> None:
        """Do nothing: a sensor delivers the next image within its frame time."""

    def close(self) -> None:
        """Stop the sensor."""
        if self._camera is not None:
            with contextlib.suppress(RuntimeError, OSError):
                self._camera.stop()
                self._camera.close()
            self._camera = None


def _missing() -> EdgesegError | None:
    kind = board()
    if kind == "jetson" and not has_element("nvarguscamerasrc"):
        return MissingDependency(f"csi: GStreamer's nvarguscamerasrc is not installed: {ARGUS}.")
    if kind == "pi" and importlib.util.find_spec("picamera2") is None:
        return MissingDependency(f"csi: picamera2 is not installed: {PICAMERA}.")
    if kind == "other":
        return UnsupportedError(
            "csi: this is neither a Jetson nor a Raspberry Pi. For a camera with a V4L2 driver use v4l2:/dev/video0."
        )
    return None


CAMERA = CsiSource()
