"""Latency, and accuracy where data is given, of several artifacts in one run on this machine."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.bench import bench_interleaved, validate, write_measurement
from edgeseg.core.progress import Progress, no_progress, reported_as
from edgeseg.data import open_dataset
from edgeseg.errors import InputError
from edgeseg.runtime import Session, load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeseg.core.measurement import Measurement


def bench(
    artifacts: Sequence[Path | str],
    *,
    runs: int = 200,
    warmup: int = 20,
    device: str | None = None,
    engine: str | None = None,
    threads: int | None = None,
    data: str | Path | None = None,
    split: str = "val",
    limit: int | None = None,
    out: Path | str | None = None,
    on_progress: Progress | None = None,
) -> tuple[Measurement, ...]:
    """Return one measurement an artifact, timed in turn; with `data` each has its accuracy, and `out` gets the files.

    Raises:
        ArtifactError, MissingDependency, UnknownName, UnsupportedError: an artifact or engine that does not open.
        DatasetError, InputError: data that cannot be used, one --out file for several measurements, or an `out` that
            exists or cannot be written.
    """
    tell = on_progress or no_progress
    out = None if out is None else Path(out)
    if out is not None:
        _check_destination(out, count=len(artifacts))
    dataset = None if data is None else open_dataset(str(data), split=split)
    with contextlib.ExitStack() as opened:
        sessions = [opened.enter_context(load(path, engine=engine, threads=threads)) for path in artifacts]
        measured = bench_interleaved(sessions, runs=runs, warmup=warmup, device_name=device, on_progress=tell)
        measured = tuple(_with_parity(item, session) for item, session in zip(measured, sessions, strict=True))
        if dataset is not None:
            scored = []
            for session, measurement in zip(sessions, measured, strict=True):
                report = reported_as(tell, f"score {session.artifact.manifest.name}")
                accuracy = validate(session, dataset, limit=limit, on_progress=report)
                scored.append(
                    dataclasses.replace(measurement, accuracy=dataclasses.replace(accuracy, source=str(data)))
                )
            measured = tuple(scored)
    if out is not None:
        for measurement in measured:
            write_measurement(measurement, out)
    return measured


def _check_destination(out: Path, *, count: int) -> None:
    """Refuse before the first run what `write_measurement` would refuse after the last."""
    if out.is_dir() or out.suffix.lower() != ".json":
        return
    if count > 1:
        raise InputError(f"{out}: one file cannot hold {count} measurements. Give --out a folder.")
    if out.exists():
        raise InputError(f"{out}: exists already, and a result overwrites no other. Choose another name.")


def _with_parity(measurement: Measurement, session: Session) -> Measurement:
    agreement = session.artifact.manifest.parity.label_agreement
    return dataclasses.replace(measurement, label_agreement=agreement)
