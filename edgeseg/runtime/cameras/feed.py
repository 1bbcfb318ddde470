"""One connection to a live source, and what happens when it is lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

STALL_S = 5.0
"""A live source that sends nothing for this long counts as lost."""
OPEN_S = 8.0
"""Time limit for opening a source."""
LARGEST_PIXELS = 100 << 20
"""Images of more pixels are refused before they are decoded: a header can ask for gigabytes."""
GIVE_UP_S = 30.0
"""A lost source is retried for this long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraImage:
    """An image (H, W, 3) BGR uint8, when it arrived (`time.monotonic` seconds), and the labels where they are known.

    `passed` older images that arrived with it were not decoded. `concealed` means that the decoder filled in damaged
    parts.
    """

    image: np.ndarray
    captured_s: float
    labels: np.ndarray | None = None
    passed: int = 0
    concealed: bool = False


class Feed(Protocol):
    """One connection. Making one does no I/O; `open` and `read` return within their time limits.

    `open`, `read` and `close` are called by one thread at a time, `interrupt` from any.
    """

    fps: float | None

    def open(self) -> None:
        """Connect; raises an `EdgesegError` that says what is missing."""

    def read(self) -> CameraImage | None:
        """Return the next image, or None for one that is damaged; raises `CameraError` where the source is lost."""

    def interrupt(self) -> None:
        """Make a waiting `open` or `read` return soon, with an error."""

    def close(self) -> None:
        """Release everything; may be called twice, and before `open`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconnect:
    """How a lost source is retried.

    Pauses double from `first_s` to `longest_s`, until no good frame has come for `give_up_s` seconds; 0 gives up at
    once, infinity never.
    """

    give_up_s: float = GIVE_UP_S
    first_s: float = 0.25
    longest_s: float = 4.0
