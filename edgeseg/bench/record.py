"""Measurements on disk: one JSON file a run."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.core.files import read_json, write_json
from edgeseg.core.measurement import Accuracy, DeviceState, Measurement, StageLatency
from edgeseg.core.version import VERSION
from edgeseg.errors import EdgesegError, InputError, RecipeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeseg.runtime import Session

SCHEMA = 1


def build_measurement(
    session: Session,
    *,
    device: DeviceState,
    latency: tuple[StageLatency, ...] = (),
    warmup: int = 0,
    peak_memory_mb: float | None = None,
    image_size: tuple[int, int] | None = None,
    accuracy: Accuracy | None = None,
    label_agreement: float | None = None,
) -> Measurement:
    """Return the measurement of a session from what was measured; fps is 1000 / p50 of the stage `total`, or 0."""
    from edgeseg.bench.memory import HOW

    artifact, manifest, options = session.artifact, session.artifact.manifest, dict(session.options)
    total = next((item for item in latency if item.stage == "total"), None)
    return Measurement(
        schema=SCHEMA,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        edgeseg_version=VERSION,
        artifact=manifest.name,
        artifact_sha256=artifact.sha256,
        artifact_bytes=artifact.size_bytes,
        model=manifest.spec.name,
        format=manifest.format,
        precision=manifest.scheme.name,
        input_size=manifest.spec.size,
        engine=session.engine,
        engine_version=session.engine_version,
        engine_options=options,
        delegate=options.get("delegate", "cpu"),
        threads=session.threads,
        warmup=warmup,
        latency=latency,
        fps=round(1000 / total.p50_ms, 2) if total and total.p50_ms else 0.0,
        peak_memory_mb=peak_memory_mb,
        peak_memory_how=HOW if peak_memory_mb is not None else "",
        image_size=image_size if latency else None,
        device=device,
        accuracy=accuracy,
        label_agreement=label_agreement,
        target=manifest.target,
        licence=manifest.licence,
        notice=manifest.notice,
        lineage=manifest.lineage,
    )


def write_measurement(measurement: Measurement, path: Path | str) -> Path:
    """Return the file that a measurement was written to: `path`, or in a folder, one named after what was measured.

    Raises:
        InputError: the place cannot be written.
    """
    path = Path(path)
    try:
        if path.is_dir() or path.suffix.lower() != ".json":
            path.mkdir(parents=True, exist_ok=True)
            path = path / file_name(measurement)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(measurement, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}.") from None
    return path


def file_name(measurement: Measurement) -> str:
    """Return `ARTIFACT-ENGINE-Nt.json`, safe on any file system."""
    text = f"{measurement.artifact}-{measurement.engine}-{measurement.threads}t"
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text) + ".json"


def read_measurement(path: Path | str) -> Measurement:
    """Return the measurement in a JSON file.

    Raises:
        InputError: no such file.
        RecipeError: not JSON, or not a measurement of this schema; the message names file and key.
    """
    path = Path(path)
    try:
        measurement = read_json(Measurement, path)
    except InputError:
        raise
    except EdgesegError as error:
        raise RecipeError(f"{path}: not a measurement. {error} Give files that edgeseg bench --out wrote.") from None
    if measurement.schema != SCHEMA:
        raise RecipeError(
            f"{path}: schema {measurement.schema}; this edgeseg reads schema {SCHEMA}. Measure again or update edgeseg."
        )
    return measurement


def read_measurements(paths: Sequence[Path | str]) -> tuple[Measurement, ...]:
    """Return the measurements in files, and in every JSON file of folders, in order; errors as `read_measurement`."""
    found: list[Measurement] = []
    for path in map(Path, paths):
        if not path.is_dir():
            found.append(read_measurement(path))
            continue
        files = sorted(path.glob("*.json"))
        if not files:
            raise InputError(f"{path}: no JSON file in this folder. Give files that edgeseg bench --out wrote.")
        found += [read_measurement(file) for file in files]
    if not found:
        raise InputError("No measurement was given. Give JSON files that edgeseg bench --out wrote.")
    return tuple(found)
