"""Reports a stuck stage or a lost source, and when either recovers. It ends nothing."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeseg.runtime.loop.stage_timing import LoopStage

STUCK_S = 10.0
"""A stage that takes longer for one frame is reported."""
CHECK_S = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Stall:
    """One stall of a stage: at which frame, and for how long (until now, if it is not over)."""

    stage: str
    frame: int
    seconds: float
    over: bool


class Watchdog:
    """A thread that checks the stages five times a second, and calls `on_tick` each time.

    `trouble()` says why the source gives no frame. While it returns a text, that is reported once, and stages that wait
    for the source do not count as stuck.
    """

    def __init__(
        self,
        stages: tuple[LoopStage, ...],
        *,
        stuck_s: float,
        notify: Callable[[str], None],
        trouble: Callable[[], str],
        on_tick: Callable[[], None],
    ) -> None:
        self._stages = stages
        self._stuck_s = stuck_s
        self._notify = notify
        self._trouble = trouble
        self._lost_s = 0.0
        self._on_tick = on_tick
        self._closing = threading.Event()
        self._open: dict[str, tuple[int, float]] = {}
        self._over: list[Stall] = []
        self._thread = threading.Thread(target=self._watch, name="edgeseg-watchdog", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """End the thread and wait for it; a second call does nothing."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()

    def stalls(self) -> tuple[Stall, ...]:
        """Return all stalls so far, ongoing ones last."""
        now_s = time.perf_counter()
        lasting = [
            Stall(stage=name, frame=frame, seconds=round(now_s - since_s, 2), over=False)
            for name, (frame, since_s) in list(self._open.items())
        ]
        return (*self._over, *lasting)

    def _watch(self) -> None:
        while not self._closing.wait(CHECK_S):
            self._on_tick()
            self._look_at_source()
            for stage in self._stages:
                self._look_at(stage)

    def _look_at_source(self) -> None:
        trouble, now_s = self._trouble(), time.perf_counter()
        if trouble and not self._lost_s:
            self._lost_s = now_s
            self._notify(trouble)
        elif self._lost_s and not trouble:
            self._notify(f"The source is back after {now_s - self._lost_s:.1f} s.")
            self._lost_s = 0.0

    def _look_at(self, stage: LoopStage) -> None:
        now_s, since_s, frame = time.perf_counter(), stage.since_s, stage.frame
        known = self._open.get(stage.name)
        if known is not None and (frame, since_s) != known:
            del self._open[stage.name]
            stall = Stall(stage=stage.name, frame=known[0], seconds=round(now_s - known[1], 2), over=True)
            self._over.append(stall)
            self._notify(f'The stage "{stall.stage}" continues after {stall.seconds:.1f} s.')
        elif known is None and since_s and now_s - since_s > self._stuck_s:
            if stage.name == "capture" and self._trouble():
                return
            self._open[stage.name] = (frame, since_s)
            where = f" ({stage.note})" if stage.note else ""
            self._notify(f'The stage "{stage.name}"{where} is stuck at frame {frame} for {now_s - since_s:.0f} s.')
