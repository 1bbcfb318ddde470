"""A field monitor: runs the float artifact on some frames for comparison, and measures input drift.

Runs in its own thread and takes a frame only when idle, so it never makes the loop wait, but it does use some of the
cores.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeseg.errors import EdgesegError, InputError
from edgeseg.pixels.statistics import Drift, StatisticsMeter, drift_of

if TYPE_CHECKING:
    from types import TracebackType

    from edgeseg.core.input_statistics import InputStatistics
    from edgeseg.runtime.frames.frame_processor import FrameProcessor
    from edgeseg.runtime.sinks.base import View

_JOIN_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What the monitor found: frames compared, share of labels that agree (all frames, last frame), and drift.

    `drift` is None without a reference; `fault` says why the monitor stopped before the loop did.
    """

    frames: int
    agreement: float | None
    last_agreement: float | None
    drift: Drift | None
    reference: str
    fault: str | None = None


class Monitor:
    """A sink: gives every `every`-th frame to `reader`, the float artifact's, and compares labels.

    Drift is that of the frames given against `reference`, or against the first `warm_up` of them where there is none.
    """

    def __init__(
        self, reader: FrameProcessor, *, every: int = 30, reference: InputStatistics | None = None, warm_up: int = 10
    ) -> None:
        if every < 1:
            raise InputError(f"every is {every}; give 1 or more.")
        self._reader = reader
        self._every = every
        self._own_reference = reference is None
        self._reference = reference
        self._warm_up = warm_up
        self._first = StatisticsMeter()
        self._seen = StatisticsMeter()
        self._seen_any = False
        self._changed = threading.Condition()
        self._waiting: View | None = None
        self._busy = self._ending = False
        self._thread: threading.Thread | None = None
        self._fault: str | None = None
        self._views = self._frames = 0
        self._agreement_sum, self._last = 0.0, 0.0

    def __enter__(self) -> Monitor:
        self._thread = threading.Thread(target=self._work, name="edgeseg-monitor", daemon=True)
        self._thread.start()
        return self

    def write(self, view: View) -> bool:
        """Take the frame if it is due and the monitor is idle; otherwise take a later one."""
        self._views += 1
        with self._changed:
            if self._views >= self._every and not self._busy and self._waiting is None and self._fault is None:
                self._views, self._waiting = 0, view
                self._changed.notify_all()
        return True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout=_JOIN_S)

    def observation(self) -> Observation:
        """Return the findings so far."""
        with self._changed:
            drift = drift_of(self._seen.result(), self._reference) if self._reference and self._seen_any else None
            return Observation(
                frames=self._frames,
                agreement=self._agreement_sum / self._frames if self._frames else None,
                last_agreement=self._last if self._frames else None,
                drift=drift,
                reference=f"the first {self._warm_up} frames" if self._own_reference else "calibration images",
                fault=self._fault,
            )

    def _work(self) -> None:
        while (view := self._next()) is not None:
            try:
                self._look(view)
            except EdgesegError as error:  # the loop goes on without its monitor, and the observation says why
                with self._changed:
                    self._fault = str(error)
                return
            finally:
                with self._changed:
                    self._busy = False

    def _next(self) -> View | None:
        with self._changed:
            while self._waiting is None and not self._ending:
                self._changed.wait(0.5)
            view, self._waiting = self._waiting, None
            self._busy = view is not None
            return view

    def _look(self, view: View) -> None:
        image = view.frame
        output = self._reader.session.infer(self._reader.prepare(image))
        labels = self._reader.read(output, size=(image.shape[0], image.shape[1])).labels
        inside = view.labels != self._reader.ignore_index
        same = int(np.count_nonzero((labels == view.labels) & inside)) / max(1, int(np.count_nonzero(inside)))
        with self._changed:
            self._frames += 1
            self._last = same
            self._agreement_sum += same
            if self._reference is None:
                self._first.update(image)
                if self._frames >= self._warm_up:
                    self._reference = self._first.result()
                return
            self._seen.update(image)
            self._seen_any = True
