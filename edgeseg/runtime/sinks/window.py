"""The overlay in a window on this machine."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeseg.core.silence import native_output
from edgeseg.errors import InputError, MissingDependency

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from edgeseg.runtime.sinks.base import Sink, SinkContext, View

_log = logging.getLogger(__name__)


class WindowKind:
    """`window`."""

    drawn = True

    def check(self, argument: str, *, force: bool) -> None:
        """Raise `InputError` for an argument, and `MissingDependency` if no window can open."""
        if argument:
            raise InputError(f'The sink "window" takes no argument; "{argument}" was given.')
        refuse_no_window()

    def writes(self, _argument: str) -> Path | None:
        """Return None: it writes no file."""
        return None

    def sink(self, _argument: str, context: SinkContext) -> Sink:
        """Return the sink."""
        return WindowSink(f"edgeseg: {context.title}")


class WindowSink:
    """A window; q, Escape or its close button ends the loop."""

    def __init__(self, title: str = "edgeseg") -> None:
        self._title = title

    def __enter__(self) -> WindowSink:
        import cv2

        refuse_no_window()
        with native_output(_log):  # Qt in OpenCV's wheel looks for fonts that are not included
            cv2.namedWindow(self._title, cv2.WINDOW_NORMAL)
        return self

    def write(self, view: View) -> bool:
        """Show the image; return False once the window was closed."""
        import cv2

        cv2.imshow(self._title, view.image)
        try:
            if cv2.waitKey(1) & 0xFF in (ord("q"), 27):
                return False
            return cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) >= 1
        except cv2.error:  # Qt shuts down with its last window and then knows no window
            return False

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        import cv2

        with contextlib.suppress(cv2.error):
            cv2.destroyWindow(self._title)


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowFault:
    """Why no window can open here, and how to fix it."""

    reason: str
    fix: str


def refuse_no_window() -> None:
    """Raise `MissingDependency` if OpenCV cannot open a window."""
    fault = window_fault()
    if fault is not None:
        raise MissingDependency(f"No window: {fault.reason} {fault.fix}")


def window_fault() -> WindowFault | None:
    """Return why OpenCV cannot open a window here, None if it can."""
    import cv2

    lines = [line.split(":", 1)[1].strip() for line in cv2.getBuildInformation().splitlines() if "GUI:" in line]
    if lines and lines[0].upper() == "NONE":
        return WindowFault(
            reason="this OpenCV is the headless build.",
            fix="Use --headless, --web or --save FILE, or: "
            "pip uninstall opencv-python-headless; pip install opencv-python",
        )
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return WindowFault(
            reason="there is no display (DISPLAY is not set).", fix="Use --headless, --web or --save FILE."
        )
    return None


SINK = WindowKind()
