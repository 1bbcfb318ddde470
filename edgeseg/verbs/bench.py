"""Latency, and accuracy where data is given, of several artifacts in one run on this machine."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.bench import bench_interleaved, bench_sustained, measure_accuracy, write_measurement
from edgeseg.bench.accuracy import check_same_classes
from edgeseg.bench.change import instability
from edgeseg.bench.peak import computed_in, measure_peak, roofline
from edgeseg.core.progress import Progress, no_progress, reported_as
from edgeseg.data import open_dataset
from edgeseg.data.label_check import Counted, findings
from edgeseg.errors import GateError, InputError
from edgeseg.runtime import Session, load

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgeseg.core.measurement import Measurement
    from edgeseg.data import Dataset

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Timing:
    """How to time: at least `runs` runs and `least_seconds`, after `warmup` runs (None: until the median settles).

    `sustained_s` runs each artifact for that long instead, and `mlperf` asks for the single-stream rule of MLPerf.
    """

    runs: int = 200
    warmup: int | None = None
    least_seconds: float = 0.0
    sustained_s: float | None = None
    mlperf: bool = False


def bench(
    artifacts: Sequence[Path | str],
    *,
    runs: int = 200,
    warmup: int | None = None,
    least_seconds: float = 0.0,
    sustained_s: float | None = None,
    mlperf: bool = False,
    with_roofline: bool = False,
    device: str | None = None,
    engine: str | None = None,
    threads: int | None = None,
    data: str | Path | None = None,
    split: str = "val",
    limit: int | None = None,
    out: Path | str | None = None,
    on_progress: Progress | None = None,
    on_notice: Callable[[str], None] | None = None,
) -> tuple[Measurement, ...]:
    """Return one measurement an artifact, timed in turn; with `data` each has its accuracy, and `out` gets the files.

    At least `runs` runs and `least_seconds` each, after `warmup` runs (None: until the running median settles).
    `sustained_s` instead runs each artifact for that long, `mlperf` asks for MLPerf's single-stream rule, and
    `with_roofline` adds the rate against this machine's measured peak. `on_notice` gets warnings about the labels, such
    as classes without a pixel.

    Raises:
        ArtifactError, MissingDependency, UnknownName, UnsupportedError: an artifact or engine that does not open.
        DatasetError, InputError: data that cannot be used, such as labels of a single class, one --out file for several
            measurements, an `out` that exists or cannot be written, or `mlperf` with `sustained_s`.
    """
    tell = on_progress or no_progress
    out = None if out is None else Path(out)
    if mlperf and sustained_s is not None:
        raise InputError("A run is either by MLPerf's rule or sustained. Leave out --mlperf or --sustained.")
    if out is not None:
        check_destination(out, count=len(artifacts))
    timing = _Timing(runs=runs, warmup=warmup, least_seconds=least_seconds, sustained_s=sustained_s, mlperf=mlperf)
    dataset = None if data is None else open_dataset(str(data), split=split)
    if dataset is not None:
        for finding in _findings(dataset, limit=limit, progress=tell):
            (on_notice or _log.warning)(finding)
    with contextlib.ExitStack() as opened:
        sessions = [opened.enter_context(load(path, engine=engine, threads=threads)) for path in artifacts]
        if dataset is not None:
            for session in sessions:  # before hours of runs, which an error afterwards would lose
                check_same_classes(dataset, session.artifact.manifest.spec)
        measured = _time(sessions, timing, device=device, progress=tell)
        if with_roofline:
            measured = _with_rooflines(measured, sessions, progress=tell)
        measured = tuple(_with_parity(item, session) for item, session in zip(measured, sessions, strict=True))
        if dataset is not None:
            scored = []
            for session, measurement in zip(sessions, measured, strict=True):
                report = reported_as(tell, f"score {session.artifact.manifest.name}")
                accuracy = measure_accuracy(session, dataset, limit=limit, on_progress=report)
                scored.append(
                    dataclasses.replace(measurement, accuracy=dataclasses.replace(accuracy, source=str(data)))
                )
            measured = tuple(scored)
    if out is not None:
        for measurement in measured:
            write_measurement(measurement, out)
    return measured


def _findings(dataset: Dataset, *, limit: int | None, progress: Progress) -> tuple[str, ...]:
    """Return warnings about the labels, which are read before anything is timed: hours of runs are not lost to them."""
    count = len(dataset) if limit is None else min(limit, len(dataset))
    counted = Counted(dataset)
    for index in range(count):
        counted.load(index)
        progress("read labels", index + 1, count)
    return findings(counted, limit=limit)


def check_stable(measurements: Sequence[Measurement]) -> None:
    """Check that noise allows a conclusion from each measurement.

    Raises:
        GateError: naming the measurements whose median is too uncertain, and by how much.
    """
    faults = [f"  {item.name}: {why}" for item in measurements if (why := instability(item))]
    if faults:
        raise GateError(
            "Too noisy for a conclusion:\n" + "\n".join(faults) + "\n  Close other programs, cool the device, or give "
            "more --runs or --min-seconds."
        )


def _time(
    sessions: Sequence[Session], timing: _Timing, *, device: str | None, progress: Progress
) -> tuple[Measurement, ...]:
    if timing.sustained_s is None:
        return bench_interleaved(
            sessions,
            runs=timing.runs,
            warmup=timing.warmup,
            least_seconds=timing.least_seconds,
            mlperf=timing.mlperf,
            device_name=device,
            on_progress=progress,
        )
    return tuple(
        bench_sustained(
            session, seconds=timing.sustained_s, warmup=timing.warmup, device_name=device, on_progress=progress
        )
        for session in sessions
    )


def _with_rooflines(
    measured: Sequence[Measurement], sessions: Sequence[Session], *, progress: Progress
) -> tuple[Measurement, ...]:
    kinds = {(kind, item.threads) for item in measured if item.latency and (kind := computed_in(item))}
    progress("measure this machine's peak", 0, 0)
    peaks = {(kind, threads): measure_peak(kind, threads=threads) for kind, threads in sorted(kinds)}
    return tuple(
        dataclasses.replace(
            item,
            roofline=roofline(
                item, macs=session.artifact.manifest.macs, peak=peaks.get((computed_in(item) or "", item.threads))
            ),
        )
        for item, session in zip(measured, sessions, strict=True)
    )


def check_destination(out: Path, *, count: int) -> None:
    """Refuse before the first run what `write_measurement` would refuse after the last."""
    if out.is_dir() or out.suffix.lower() != ".json":
        return
    if count > 1:
        raise InputError(f"{out}: one file cannot hold {count} measurements. Give --out a folder.")
    if out.exists():
        raise InputError(f"{out}: exists already, and a result overwrites no other. Choose another name.")


def _with_parity(measurement: Measurement, session: Session) -> Measurement:
    parity = session.artifact.manifest.parity
    return dataclasses.replace(measurement, label_agreement=parity.label_agreement if parity.images else None)
