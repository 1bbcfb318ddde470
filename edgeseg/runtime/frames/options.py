"""How `run` reads frames: the user's options, turned into readers, a ladder of sizes and a monitor."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.core.artifact import MANIFEST
from edgeseg.errors import InputError
from edgeseg.runtime.frames.adaptive_resolution import Ladder
from edgeseg.runtime.frames.drift_monitor import Monitor
from edgeseg.runtime.frames.frame_processor import FrameProcessor, FrameProcessors, region_of
from edgeseg.runtime.frames.temporal_smoothing import smoother_of
from edgeseg.runtime.frames.uncertainty import uncertainty_kind
from edgeseg.runtime.session.opening import load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from edgeseg.core.input_statistics import InputStatistics
    from edgeseg.runtime.session.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """`smooth` as "exp:0.6" or "vote:3", `region` as "X,Y,W,H", `uncertainty` as "margin" or "entropy".

    `monitor` is the float artifact that checks every `monitor_every`-th frame. `others` are artifacts of further
    input sizes, by which `keep_fps` and `keep_latency_ms` are kept.
    """

    smooth: str | None = None
    region: str | None = None
    uncertainty: str | None = None
    monitor: Path | None = None
    monitor_every: int = 30
    others: tuple[Path, ...] = ()
    keep_fps: float | None = None
    keep_latency_ms: float | None = None

    def check(self) -> None:
        """Raise `InputError` or `UnknownName` for a value that cannot be understood, before any slow work."""
        region_of(self.region)
        smoother_of(self.smooth)
        uncertainty_kind(self.uncertainty)
        for option, value in (("--fps", self.keep_fps), ("--latency", self.keep_latency_ms)):
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"{option} {value:g} is not a rate or time that can be kept; give a number above 0.")


@dataclass(frozen=True, slots=True)
class Opened:
    """What the loop needs for a reading."""

    readers: FrameProcessors
    ladder: Ladder | None
    monitor: Monitor | None


@contextlib.contextmanager
def open_reading(
    session: Session, reading: Reading, *, engine: str | None, notify: Callable[[str], None]
) -> Iterator[Opened]:
    """Open every further artifact of a reading, on as many threads as `session`, and close them at the end.

    Raises:
        InputError, UnknownName, UnsupportedError: options that are invalid or do not fit the artifact.
        ArtifactError, MissingDependency: an artifact that does not open.
    """

    def reader_of(one: Session) -> FrameProcessor:
        return FrameProcessor(
            one,
            region=region_of(reading.region),
            smoother=smoother_of(reading.smooth),
            uncertainty=uncertainty_kind(reading.uncertainty),
            temperature=_temperature(one),
        )

    with contextlib.ExitStack() as opened:
        first = reader_of(session)
        ladder = None
        if reading.others or reading.keep_fps is not None or reading.keep_latency_ms is not None:
            rest = [opened.enter_context(load(path, engine=engine, threads=session.threads)) for path in reading.others]
            ladder = Ladder(
                [first, *(reader_of(one) for one in rest)],
                fps=reading.keep_fps,
                latency_ms=reading.keep_latency_ms,
                notify=notify,
            )
        monitor = None
        if reading.monitor is not None:
            judge = opened.enter_context(load(reading.monitor, threads=1))
            if judge.artifact.manifest.spec.classes != session.artifact.manifest.spec.classes:
                raise InputError(f"{reading.monitor}: other classes than those of {session.artifact.folder}.")
            monitor = Monitor(
                FrameProcessor(judge, region=region_of(reading.region)),
                every=reading.monitor_every,
                reference=_statistics(session, judge),
            )
        yield Opened(ladder or first, ladder, monitor)


def _temperature(session: Session) -> float | None:
    found = session.artifact.manifest.temperature
    return None if found is None else found.value


def _statistics(*sessions: Session) -> InputStatistics | None:
    """Return statistics of the calibration images of either artifact; int8 artifacts carry them."""
    sets = [session.artifact.manifest.calibration for session in sessions]
    return next((one.statistics for one in sets if one is not None and one.statistics is not None), None)


def artifacts_in(paths: Sequence[Path]) -> tuple[Path, ...]:
    """Return the artifacts that paths name: each one itself, or, of a bundle, the artifacts that lie in the folder."""
    found: list[Path] = []
    for path in paths:
        inside = sorted(entry.parent for entry in path.glob(f"*/{MANIFEST}")) if path.is_dir() else []
        found += inside if inside and not (path / MANIFEST).exists() else [path]
    return tuple(found)
