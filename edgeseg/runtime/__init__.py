"""The device side: an artifact on an engine, from a picture or a camera to labels.

Needs numpy, OpenCV and one engine's own library, and imports the last two only where they are used.
"""

from __future__ import annotations

from edgeseg.runtime.cameras import open_camera
from edgeseg.runtime.loop import LoopResult, run
from edgeseg.runtime.session import Session, load
from edgeseg.runtime.sinks import AreaLines, LabelFolder, Sink, View
from edgeseg.runtime.sinks_video import VideoSink
from edgeseg.runtime.sinks_window import WindowFault, WindowSink, window_fault
from edgeseg.runtime.timing import StageTimes
from edgeseg.runtime.verify import Verification, verify
from edgeseg.runtime.watchdog import Stall

__all__ = [
    "AreaLines",
    "LabelFolder",
    "LoopResult",
    "Session",
    "Sink",
    "StageTimes",
    "Stall",
    "Verification",
    "VideoSink",
    "View",
    "WindowFault",
    "WindowSink",
    "load",
    "open_camera",
    "run",
    "verify",
    "window_fault",
]
