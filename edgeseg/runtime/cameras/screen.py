"""`screen:`: the content of a monitor, through mss."""

from __future__ import annotations

import re
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeseg.core.requirements import missing_modules
from edgeseg.errors import CameraError, InputError, MissingDependency
from edgeseg.runtime.cameras.feed import CameraImage
from edgeseg.runtime.cameras.live import LiveCamera
from edgeseg.runtime.cameras.source import Request, SourceStatus

if TYPE_CHECKING:
    from edgeseg.core.protocols import Camera

_FPS = 15.0
_INSTALL = 'pip install "edgeseg[screen]"'
_Region = tuple[int, int, int, int]


class ScreenSource:
    """`screen:`, `screen:2`, `screen:?region=LEFT,TOP,WIDTH,HEIGHT`."""

    schemes = ("screen",)

    def camera(self, request: Request) -> Camera:
        """Return a live camera on a monitor, 0 for all of them together."""
        request, own = request.options("region")
        number = request.rest.strip("/") or "1"
        if not number.isdecimal():
            raise InputError(f"{request.shown}: write it as screen: or screen:NUMBER.")
        region, fps = _region(own.get("region")), request.fps or _FPS
        return LiveCamera(
            lambda: ScreenFeed(int(number), name=request.uri, region=region, fps=fps),
            name=request.uri,
            size=request.size,
            fps=fps,
            reconnect=request.reconnect,
        )

    def status(self) -> SourceStatus:
        """Return whether mss is installed and there is a display."""
        uris = ("screen:", "screen:NUMBER")
        if missing_modules(["mss"]):
            return SourceStatus(uris=uris, works=False, detail="mss is not installed", fix=_INSTALL)
        display = _display_fault()
        if display:
            return SourceStatus(uris=uris, works=False, detail=display, fix="run it in a desktop session")
        return SourceStatus(uris=uris, works=True, detail="through mss")


class ScreenFeed:
    """One opened display; images are taken at `fps`."""

    def __init__(self, number: int, *, name: str, region: _Region | None, fps: float) -> None:
        self.fps: float | None = fps
        self._number = number
        self._name = name
        self._region = region
        self._next_s = 0.0
        self._period_s = 1 / fps
        self._stopped = threading.Event()
        self._area: dict[str, int] | None = None
        self._screen: Any = None

    def open(self) -> None:
        """Look for the monitor; raises `MissingDependency` without mss, `CameraError` where there is none."""
        self._area = self._looked_up()

    def read(self) -> CameraImage:
        """Return the next image, when it is due."""
        if self._stopped.wait(max(0.0, self._next_s - time.monotonic())):
            raise CameraError(f"{self._name}: was closed.")
        self._next_s = max(self._next_s + self._period_s, time.monotonic())
        from mss.exception import ScreenShotError

        try:
            # mss is bound to the thread that opened it.
            self._screen = self._screen or _opened()
            shot = self._screen.grab(self._area)
        except (ScreenShotError, OSError) as error:
            raise CameraError(f"{self._name}: the screen cannot be read: {error}.") from None
        pixels = np.frombuffer(shot.raw, np.uint8).reshape(shot.height, shot.width, 4)
        return CameraImage(image=np.ascontiguousarray(pixels[:, :, :3]), captured_s=time.monotonic())

    def interrupt(self) -> None:
        """End the wait for the next image."""
        self._stopped.set()

    def close(self) -> None:
        """Close the display."""
        if self._screen is not None:
            self._screen.close()
            self._screen = None

    def _looked_up(self) -> dict[str, int]:
        if missing_modules(["mss"]):
            raise MissingDependency(f"{self._name}: mss is not installed: {_INSTALL}.")
        if _display_fault():
            raise CameraError(f"{self._name}: {_display_fault()}. Run it in a desktop session.")
        from mss.exception import ScreenShotError

        try:
            with _opened() as screen:
                monitors = [dict(monitor) for monitor in screen.monitors]
        except (ScreenShotError, OSError) as error:
            raise CameraError(f"{self._name}: the display does not open: {error}.") from None
        if self._number >= len(monitors):
            raise CameraError(f"{self._name}: monitor {self._number} does not exist; there are {len(monitors) - 1}.")
        whole = {side: int(monitors[self._number][side]) for side in ("left", "top", "width", "height")}
        if self._region is None:
            return whole
        left, top, width, height = self._region
        if left + width > whole["width"] or top + height > whole["height"]:
            raise InputError(
                f"{self._name}: the region reaches beyond the monitor of {whole['width']}x{whole['height']}."
            )
        return {"left": whole["left"] + left, "top": whole["top"] + top, "width": width, "height": height}


def _opened() -> Any:
    import mss

    return mss.MSS() if hasattr(mss, "MSS") else mss.mss()  # renamed in 10.2


def _display_fault() -> str:
    import os

    if sys.platform.startswith("linux") and not os.environ.get("DISPLAY"):
        wayland = " (Wayland alone cannot be read)" if os.environ.get("WAYLAND_DISPLAY") else ""
        return f"there is no X display: DISPLAY is not set{wayland}"
    return ""


def _region(text: str | None) -> _Region | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d{1,5}),(\d{1,5}),([1-9]\d{0,4}),([1-9]\d{0,4})", text)
    if match is None:
        raise InputError(f"region={text} is not LEFT,TOP,WIDTH,HEIGHT in pixels.")
    left, top, width, height = (int(number) for number in match.groups())
    return left, top, width, height


CAMERA = ScreenSource()
