"""Keeping a rate or a latency under load: the loop steps through artifacts of several input sizes, and says so.

Steps are decided on medians, with a pause after each, and a step up needs more slack than a step down: a load near a
limit must not make the size oscillate.
"""

from __future__ import annotations

import logging
import statistics
import threading
from collections import deque
from typing import TYPE_CHECKING

from edgeseg.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgeseg.runtime.frames.frame_processor import FrameProcessor

_log = logging.getLogger(__name__)

WINDOW = 12
"""Frames over which a median is taken before a step down."""
PATIENCE = 4
"""Consecutive windows that must have slack before a step up."""
SLACK = 0.8
"""A larger size is tried only where its predicted time stays below this share of the limit."""
DEEPEST_PATIENCE = 64


class Ladder:
    """Readers of one model at several input sizes, the largest first; frames in flight keep the reader they began with.

    Give a rate, a latency in milliseconds, or both. The rate is kept where the longest stage takes less than a frame's
    time: stages work side by side.
    """

    def __init__(
        self,
        readers: Sequence[FrameProcessor],
        *,
        fps: float | None = None,
        latency_ms: float | None = None,
        notify: Callable[[str], None] = _log.warning,
    ) -> None:
        self._readers = sorted(readers, key=_pixels, reverse=True)
        _check(self._readers, fps=fps, latency_ms=latency_ms)
        self._busy_limit_ms = None if fps is None else 1000 / fps
        self._latency_limit_ms = latency_ms
        self._notify = notify
        self._lock = threading.Lock()
        self._loads: deque[float] = deque(maxlen=WINDOW)
        self._step = 0
        self._frames_to_skip = 0
        self._quiet_windows = 0
        self._patience = PATIENCE
        self._stepped_up = False
        self._at_end = False
        self.steps = 0
        """How often the size changed."""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the input at the present step."""
        return self._readers[self._step].session.input.size

    def current(self) -> FrameProcessor:
        """Return the reader for the next frame."""
        return self._readers[self._step]

    def observe(self, *, busy_ms: float, latency_ms: float) -> None:
        """Take a frame's times, and change the size where the limits require it; called where frames are read."""
        with self._lock:
            if self._frames_to_skip:  # frames that were in flight when the size changed, and the new size's first ones
                self._frames_to_skip -= 1
                return
            self._loads.append(self._load(busy_ms, latency_ms))
            if len(self._loads) < WINDOW:
                return
            load = statistics.median(self._loads)
            self._loads.clear()
            self._decide(load)

    def _load(self, busy_ms: float, latency_ms: float) -> float:
        """Return the share of the tighter limit that a frame took."""
        busy = busy_ms / self._busy_limit_ms if self._busy_limit_ms else 0.0
        return max(busy, latency_ms / self._latency_limit_ms if self._latency_limit_ms else 0.0)

    def _decide(self, load: float) -> None:
        if load > 1:
            self._quiet_windows = 0
            if self._stepped_up:  # the last step up was a mistake: wait twice as long for the next
                self._patience = min(2 * self._patience, DEEPEST_PATIENCE)
            self._go(self._step + 1, load)
            return
        self._at_end = False
        self._stepped_up = False
        above = self._step - 1
        if above < 0:
            return
        growth = _pixels(self._readers[above]) / _pixels(self._readers[self._step])
        self._quiet_windows = self._quiet_windows + 1 if load * growth < SLACK else 0
        if self._quiet_windows >= self._patience:
            self._go(above, load)
            self._stepped_up = True

    def _go(self, step: int, load: float) -> None:
        took = f"frames take {100 * load:.0f} % of the time allowed"
        if step >= len(self._readers):
            if not self._at_end:
                self._at_end = True
                self._notify(f"{took}, and {_words(self.size)} is the smallest input size available.")
            return
        before = self.size
        self._step, self._quiet_windows, self._frames_to_skip = step, 0, WINDOW // 2
        self._stepped_up = False
        self._readers[step].forget()
        self.steps += 1
        self._notify(f"{took}: input size {_words(before)} to {_words(self.size)}.")


def _check(readers: Sequence[FrameProcessor], *, fps: float | None, latency_ms: float | None) -> None:
    if fps is None and latency_ms is None:
        raise InputError("Nothing to keep: give a rate (--fps) or a latency (--latency).")
    for name, limit in (("fps", fps), ("latency", latency_ms)):
        if limit is not None and not 0 < limit < float("inf"):
            raise InputError(f"{name} is {limit:g}; give a number above 0.")
    if not readers:
        raise InputError("No artifact to step through.")
    first = readers[0].session.artifact.manifest
    seen: dict[tuple[int, int], str] = {}
    for reader in readers:
        manifest, size = reader.session.artifact.manifest, reader.session.input.size
        if manifest.lineage.weights_sha256 != first.lineage.weights_sha256:
            raise InputError(
                f"{first.name} and {manifest.name} come from different checkpoints; all sizes must come "
                "from one. Convert it again with --size."
            )
        if size in seen:
            raise InputError(f"{reader.session.artifact.folder} and {seen[size]} are both {_words(size)}. Drop one.")
        seen[size] = str(reader.session.artifact.folder)


def _pixels(reader: FrameProcessor) -> int:
    height, width = reader.session.input.size
    return height * width


def _words(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
