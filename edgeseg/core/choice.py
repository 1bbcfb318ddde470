"""Why an artifact has its precision and its head: what was measured of each candidate."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgeseg.core.records import bounds


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One precision and head.

    `p50_ms` is the median of inference and decoding to `Choice.display` on the engine, `drop` what is lost against the
    float checkpoint decoded exactly: a fraction of mIoU, or of labels without ground truth. Both are None for one that
    could not be made or failed its gate; `reason` says why it was chosen or not.
    """

    precision: str
    output: str
    p50_ms: float | None = field(default=None, metadata=bounds(low=0))
    drop: float | None = None
    size_bytes: int | None = None
    chosen: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The candidates, measured in turn on one machine, and the most that was allowed to be lost."""

    engine: str
    threads: int
    display: tuple[int, int]
    measure: str
    max_drop: float | None
    candidates: tuple[Candidate, ...]
