"""How a camera loop went."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeseg.runtime.loop.bounded_queue import QueueState
    from edgeseg.runtime.loop.watchdog import Stall
    from edgeseg.runtime.sinks.hud import StageTimes


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopResult:
    """How a loop went. `miou` is None where the source has no labels; a frame's age is measured when its result is out.

    `limit` is the stage that sets the rate: "capture" if the source delivers less than the other stages could handle.
    `captured` = `delivered` + `skipped` + `corrupt` frames came from the source; of the delivered ones `concealed` have
    parts that the decoder filled in, and a file ended `missing` frames before its announced end. `trouble` is why the
    source gave none at the end. `queues` says how full the queue before each stage was, `stalls` what the watchdog
    reported, and `fault` what ended the loop early.
    """

    frames: int
    fps: float
    captured: int
    delivered: int
    skipped: int
    age_p50_ms: float
    age_p90_ms: float
    age_p99_ms: float
    corrupt: int
    concealed: int
    missing: int
    reconnects: int
    trouble: str
    stages_ms: dict[str, StageTimes]
    limit: str
    queues: dict[str, QueueState]
    stalls: tuple[Stall, ...]
    threads: int
    miou: float | None
    interrupted: bool
    fault: str | None
