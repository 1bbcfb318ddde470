"""`gst:PIPELINE`: any GStreamer pipeline, run by gst-launch-1.0. Neither OpenCV nor Python needs to know GStreamer."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
import time
from typing import TYPE_CHECKING

from edgeseg.errors import CameraError, InputError, MissingDependency, UnsupportedError
from edgeseg.runtime.cameras.child import Child, start
from edgeseg.runtime.cameras.feed import OPEN_S, STALL_S, CameraImage
from edgeseg.runtime.cameras.live import LiveCamera
from edgeseg.runtime.cameras.source import Request, SourceStatus
from edgeseg.runtime.cameras.y4m import BadVideo, Y4mReader

if TYPE_CHECKING:
    from edgeseg.core.protocols import Camera

LAUNCH = "gst-launch-1.0"
_INSTALL = "sudo apt install gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good"
# A slow reader gets the newest image: the queue drops older ones.
TAIL = "queue leaky=downstream max-size-buffers=1 ! videoconvert ! video/x-raw,format=I420 ! y4menc ! fdsink sync=false"
APPSINK = re.compile(r"!\s*appsink\b[^!]*$")
PACKAGES = {
    "nvarguscamerasrc": "it comes with JetPack (nvidia-l4t-gstreamer)",
    "nvvidconv": "it comes with JetPack (nvidia-l4t-gstreamer)",
    "libcamerasrc": "sudo apt install gstreamer1.0-libcamera",
    "y4menc": "sudo apt install gstreamer1.0-plugins-good",
    "videoconvert": "sudo apt install gstreamer1.0-plugins-base",
    "avdec_h264": "sudo apt install gstreamer1.0-libav",
    "ximagesrc": "sudo apt install gstreamer1.0-plugins-good gstreamer1.0-x",
}
OTHER_PACKAGES = "sudo apt install gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-libav"


class GstSource:
    """`gst:v4l2src device=/dev/video0 ! image/jpeg ! jpegdec`."""

    schemes = ("gst",)

    def camera(self, request: Request) -> Camera:
        """Return a live camera on a pipeline; an `appsink` at its end, as OpenCV needs it, is removed."""
        pipeline = APPSINK.sub("", request.rest.strip()).strip().rstrip("!").strip()
        if not pipeline:
            raise InputError('gst: names no pipeline. Write for example --source "gst:videotestsrc is-live=true".')
        return pipeline_camera(pipeline, name=f"gst:{pipeline}", request=request)

    def status(self) -> SourceStatus:
        """Return whether gst-launch-1.0 is installed."""
        uris = ("gst:PIPELINE",)
        if sys.platform == "win32":
            return SourceStatus(uris=uris, works=False, detail="not on Windows")
        if shutil.which(LAUNCH) is None:
            return SourceStatus(uris=uris, works=False, detail=f"{LAUNCH} is not installed", fix=_INSTALL)
        return SourceStatus(uris=uris, works=True, detail=f"through {LAUNCH}")


def pipeline_camera(pipeline: str, *, name: str, request: Request) -> LiveCamera:
    """Return a live camera on a pipeline without a sink."""
    try:
        words = shlex.split(pipeline)
    except ValueError as error:
        raise InputError(f"{name}: the pipeline cannot be read: {error}.") from None
    return LiveCamera(
        lambda: GstFeed(words, name=name),
        name=name,
        size=request.size,
        fps=request.fps,
        reconnect=request.reconnect,
    )


class GstFeed:
    """One running pipeline."""

    def __init__(self, pipeline: list[str], *, name: str) -> None:
        self.fps: float | None = None
        self._pipeline = pipeline
        self._name = name
        self._stopped = False
        self._child: Child | None = None
        self._video = Y4mReader(self._bytes)
        self._deadline_s = 0.0

    def open(self) -> None:
        """Start the pipeline and wait for its first image's size.

        Raises:
            MissingDependency: gst-launch-1.0 or an element is not installed.
            CameraError: anything else.
        """
        _require_launch()
        self._child = start(self._command, name=self._name)
        if self._stopped:
            self._child.kill()
        self._deadline_s = time.monotonic() + OPEN_S
        try:
            self._video.header()
        except (EOFError, TimeoutError, BadVideo) as error:
            raise self._refused(error, self._child) from None
        self.fps = self._video.fps

    def read(self) -> CameraImage:
        """Return the next image."""
        self._deadline_s = time.monotonic() + STALL_S
        try:
            image = self._video.image()
        except TimeoutError:
            raise CameraError(f"{self._name}: no image for {STALL_S:g} s.") from None
        except EOFError:
            words = _fault_of(self._child.final_output()) if self._child else ""
            raise CameraError(f"{self._name}: the pipeline ended{': ' if words else '.'}{words}") from None
        except BadVideo as error:
            raise CameraError(f"{self._name}: the pipeline gave no video: {error}.") from None
        return CameraImage(image=image, captured_s=time.monotonic())

    def interrupt(self) -> None:
        """End the pipeline."""
        self._stopped = True
        if (child := self._child) is not None:
            child.kill()

    def close(self) -> None:
        """End the pipeline and close its pipes."""
        if self._child is not None:
            self._child.close()
            self._child = None

    def _command(self, descriptor: int) -> list[str]:
        return [LAUNCH, "-q", *self._pipeline, "!", *TAIL.split(), f"fd={descriptor}"]

    def _bytes(self, size: int) -> bytearray:
        if self._child is None:
            raise EOFError
        return self._child.read(size, deadline_s=self._deadline_s)

    def _refused(self, error: Exception, child: Child) -> CameraError | MissingDependency:
        words = child.final_output()
        element = re.search(r'no element "([^"]+)"', words)
        if element:
            fix = PACKAGES.get(element[1], OTHER_PACKAGES)
            return MissingDependency(f'{self._name}: GStreamer here has no "{element[1]}": {fix}.')
        if isinstance(error, TimeoutError):
            return CameraError(f"{self._name}: the pipeline gave no image within {OPEN_S:g} s. {_fault_of(words)}")
        return CameraError(f"{self._name}: the pipeline does not run: {_fault_of(words) or error or 'it ended'}")


def has_element(name: str) -> bool:
    """Return whether GStreamer here has an element; False if its tools are missing."""
    import subprocess

    inspect = shutil.which("gst-inspect-1.0")
    if inspect is None:
        return False
    try:
        done = subprocess.run([inspect, "--exists", name], capture_output=True, timeout=OPEN_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _require_launch() -> None:
    if sys.platform == "win32":
        raise UnsupportedError("gst: pipelines do not run on Windows. Use another kind of source.")
    if shutil.which(LAUNCH) is None:
        raise MissingDependency(f"gst: {LAUNCH} is not installed: {_INSTALL}.")


def _fault_of(words: str) -> str:
    """Return the line of gst-launch's output that says what went wrong."""
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    telling = [line for line in lines if "ERROR" in line or "erroneous" in line or "WARNING" in line]
    return re.sub(r"^(ERROR|WARNING): ", "", telling[0]) if telling else ""


CAMERA = GstSource()
