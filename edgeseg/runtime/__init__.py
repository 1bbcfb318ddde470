"""The device side: runs an artifact on an engine, from an image or a camera to labels.

Needs numpy, OpenCV and one engine's library, and imports the last two only where they are used.
"""

from __future__ import annotations

from edgeseg.runtime.cameras import open_camera
from edgeseg.runtime.loop.loop import run
from edgeseg.runtime.loop.result import LoopResult
from edgeseg.runtime.loop.watchdog import Stall
from edgeseg.runtime.session.isolated import Limits
from edgeseg.runtime.session.opening import load
from edgeseg.runtime.session.session import Session
from edgeseg.runtime.session.verify import Verification, verify
from edgeseg.runtime.sinks.areas import AreaLines
from edgeseg.runtime.sinks.base import Sink, SinkContext, SinkKind, View
from edgeseg.runtime.sinks.hud import StageTimes
from edgeseg.runtime.sinks.labels import LabelFolder
from edgeseg.runtime.sinks.video import VideoSink
from edgeseg.runtime.sinks.window import WindowFault, WindowSink, window_fault

__all__ = [
    "AreaLines",
    "LabelFolder",
    "Limits",
    "LoopResult",
    "Session",
    "Sink",
    "SinkContext",
    "SinkKind",
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
