"""What the readers of videos share: how one is opened, what an image of it is, and when to give up."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from edgeseg.errors import CameraError
from edgeseg.runtime.cameras.capture import DEFAULT_FPS
from edgeseg.runtime.cameras.feed import LARGEST_PIXELS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

INSTALL = 'pip install "edgeseg[video]"'
OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
"""The environment variable with FFmpeg options for OpenCV; PyAV gets them too."""
# UDP loses packets on Wi-Fi and images tear, so it is used only where a camera refuses TCP; `nobuffer` keeps FFmpeg
# from queueing frames before ours.
LIVE_OPTIONS = "rtsp_flags;prefer_tcp|fflags;nobuffer|flags;low_delay"
LONGEST_STEP_S = 10.0
FAILURES_IN_A_ROW = 50
"""A reader that fails this often in a row has reached the end of the readable part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """An image (H, W, 3) BGR uint8 and its time in the video, None where the container does not say.

    `concealed` means that the decoder filled in damaged parts.
    """

    image: NDArray[np.uint8]
    media_s: float | None = None
    concealed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What to open and how: `shown` is the address without its password; the limits are for networks."""

    uri: str
    shown: str
    threads: int = 1
    live: bool = False
    open_s: float | None = None
    stall_s: float | None = None


class MediaClock:
    """Times that go on where a video's own go back, as where two recordings were joined.

    With `jumps`, as in MPEG-TS, a step of more than ten seconds is such a joint too: FFmpeg's own limit.
    """

    def __init__(self, *, fps: float | None, jumps: bool = False) -> None:
        self._step_s = 1 / (fps or DEFAULT_FPS)
        self._longest_s = LONGEST_STEP_S if jumps else math.inf
        self._last_s: float | None = None
        self._shift_s = 0.0

    def shown(self, time_s: float) -> float:
        """Return when an image is shown whose time in the video is `time_s`; both in seconds."""
        if self._last_s is not None and not 0 <= time_s - self._last_s <= self._longest_s:
            self._shift_s += self._last_s + self._step_s - time_s
        self._last_s = time_s
        return time_s + self._shift_s


class MediaReader(Protocol):
    """One opened video."""

    fps: float | None

    def read(self) -> Decoded | None:
        """Return the next image, None for a corrupt one; raises `EOFError` at the end, `CameraError` when lost."""

    def missing(self) -> int:
        """Return, after the end, how many frames that the container announced were missing."""

    def close(self) -> None:
        """Release the decoder."""


def refuse_giant(height: int, width: int, *, shown: str) -> None:
    """Raise `CameraError` for an image whose header claims more pixels than any camera has."""
    if height * width > LARGEST_PIXELS:
        raise CameraError(
            f"{shown}: its images are {height}x{width}; at most {LARGEST_PIXELS >> 20} megapixels are decoded."
        )
