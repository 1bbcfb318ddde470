"""Measurements on disk: one JSON file per run, with a unique name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.bench.migration import MEASUREMENT_SCHEMA, migrated_measurement
from edgeseg.bench.samples import check_samples, latency_of
from edgeseg.core.files import delete_stale, read_json_value, write_json
from edgeseg.core.measurement import Accuracy, DeviceState, Measurement, RawSamples, StageLatency
from edgeseg.core.records import decode_record
from edgeseg.core.version import VERSION
from edgeseg.errors import EdgesegError, InputError, RecipeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeseg.bench.memory import FreshProcess
    from edgeseg.core.artifact import Artifact
    from edgeseg.core.timing_method import TimingMethod
    from edgeseg.runtime import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRun:
    """The engine that ran an artifact, as a measurement names it."""

    engine: str
    version: str
    options: dict[str, str]
    delegate: str
    threads: int


def build_measurement(
    session: Session,
    *,
    device: DeviceState,
    samples: RawSamples | None = None,
    warmup: int = 0,
    method: TimingMethod | None = None,
    fresh: FreshProcess | None = None,
    energy_mj: float | None = None,
    image_size: tuple[int, int] | None = None,
    accuracy: Accuracy | None = None,
    label_agreement: float | None = None,
) -> Measurement:
    """Return the measurement of a session from its parts. fps is 1000 / p50 of the stage `total`, or 0."""
    options = dict(session.options)
    ran = EngineRun(
        engine=session.engine,
        version=session.engine_version,
        options=options,
        delegate=options.get("delegate", "cpu"),
        threads=session.threads,
    )
    return measurement_of(
        session.artifact,
        ran,
        device=device,
        samples=samples,
        warmup=warmup,
        method=method,
        fresh=fresh,
        energy_mj=energy_mj,
        image_size=image_size,
        accuracy=accuracy,
        label_agreement=label_agreement,
    )


def measurement_of(
    artifact: Artifact,
    ran: EngineRun,
    *,
    device: DeviceState,
    samples: RawSamples | None = None,
    warmup: int = 0,
    method: TimingMethod | None = None,
    fresh: FreshProcess | None = None,
    energy_mj: float | None = None,
    image_size: tuple[int, int] | None = None,
    accuracy: Accuracy | None = None,
    label_agreement: float | None = None,
    frame_age: StageLatency | None = None,
) -> Measurement:
    """Return the measurement of an artifact that some engine ran, wherever that was."""
    from edgeseg.bench.memory import HOW

    latency = () if samples is None else latency_of(samples)
    manifest = artifact.manifest
    total = next((item for item in latency if item.stage == "total"), None)
    return Measurement(
        schema=MEASUREMENT_SCHEMA,
        created=datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        edgeseg_version=VERSION,
        artifact=manifest.name,
        artifact_sha256=artifact.sha256,
        artifact_bytes=artifact.size_bytes,
        model=manifest.spec.name,
        format=manifest.format,
        precision=manifest.scheme.name,
        input_size=manifest.spec.size,
        engine=ran.engine,
        engine_version=ran.version,
        engine_options=ran.options,
        delegate=ran.delegate,
        threads=ran.threads,
        warmup=warmup,
        latency=latency,
        fps=round(1000 / total.p50_ms, 2) if total and total.p50_ms else 0.0,
        peak_memory_mb=fresh.peak_memory_mb or None if fresh else None,
        peak_memory_how=HOW if fresh and fresh.peak_memory_mb else "",
        image_size=image_size if latency else None,
        device=device,
        accuracy=accuracy,
        label_agreement=label_agreement,
        target=manifest.target,
        licence=manifest.licence,
        notice=manifest.notice,
        lineage=manifest.lineage,
        inference_precision=ran.options.get("inference_precision", ""),
        samples=samples,
        method=method,
        load_ms=fresh.load_ms if fresh else None,
        reload_ms=fresh.reload_ms if fresh else None,
        first_inference_ms=fresh.first_inference_ms if fresh else None,
        steady_memory_mb=fresh.steady_memory_mb or None if fresh else None,
        energy_mj=energy_mj,
        frame_age=frame_age,
    )


def write_measurement(measurement: Measurement, path: Path | str) -> Path:
    """Return the file that a measurement was written to: `path`, or in a folder, one named by `file_name`.

    Nothing is overwritten: if the folder has a file of that name, a number is added.

    Raises:
        InputError: `path` is an existing file, or cannot be written.
    """
    path = Path(path)
    try:
        if path.suffix.lower() == ".json" and not path.is_dir():
            if path.exists():
                raise InputError(f"{path}: exists already, and a result overwrites no other. Choose another name.")
            path.parent.mkdir(parents=True, exist_ok=True)
        else:
            path.mkdir(parents=True, exist_ok=True)
            delete_stale(path)  # of any name: each result has its own, so no later one replaces it
            path = _free(path / file_name(measurement))
        write_json(measurement, path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}.") from None
    return path


def file_name(measurement: Measurement) -> str:
    """Return `DEVICE-ARTIFACT-HASH-HxW-ENGINE-Nt-TIME.json`, safe on any file system."""
    height, width = measurement.input_size
    parts = (
        measurement.device.name,
        measurement.artifact,
        measurement.artifact_sha256[:8],
        f"{height}x{width}",
        measurement.engine,
        f"{measurement.threads}t",
        re.sub(r"[^0-9T]", "", measurement.created.partition("+")[0]),
    )
    # 255 bytes is the maximum for a name on most file systems.
    return "-".join(_slug(part)[:60] for part in parts) + ".json"


def read_measurement(path: Path | str) -> Measurement:
    """Return the measurement in a JSON file of this schema or an older one.

    Raises:
        InputError: no such file.
        RecipeError: not JSON, not a measurement, or impossible or contradictory numbers; the message names file
            and key.
    """
    path = Path(path)
    return _measurement(read_json_value(path), path)


def decode_measurement(data: object, *, where: str) -> Measurement:
    """Return the measurement in the plain values of a JSON object, checked as `read_measurement` checks a file.

    Raises:
        RecipeError: not a measurement, or impossible or contradictory numbers; the message starts with `where`.
    """
    return _measurement(data, Path(where))


def read_measurements(paths: Sequence[Path | str]) -> tuple[Measurement, ...]:
    """Return the measurements in files, and in every JSON file of folders and the folders in them, in order.

    In a folder, other JSON files (not objects, or without `artifact_sha256`) and hidden files and folders are skipped.
    Errors are those of `read_measurement`.
    """
    found: list[Measurement] = []
    for path in map(Path, paths):
        inside = [item for file in record_files(path) if (item := read_if_record(file)) is not None]
        if not inside:
            raise InputError(f"{path}: no measurement in this folder. Give files that edgeseg bench --out wrote.")
        found += inside
    if not found:
        raise InputError("No measurement was given. Give JSON files that edgeseg bench --out wrote.")
    return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordFile:
    """A file that may be a measurement; `given` says that the user named it, so that it must be one."""

    path: Path
    given: bool


def record_files(path: Path) -> tuple[RecordFile, ...]:
    """Return a file itself, or the JSON files in a folder and the folders in it, hidden ones aside."""
    if path.is_dir():
        return tuple(RecordFile(path=file, given=False) for file in _json_files(path))
    return (RecordFile(path=path, given=True),)


def read_if_record(file: RecordFile) -> Measurement | None:
    """Return the measurement in a file, None for other JSON; raises as `read_measurement` does."""
    data = read_json_value(file.path)
    if file.given or (isinstance(data, dict) and "artifact_sha256" in data):
        return _measurement(data, file.path)
    return None


def _json_files(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*.json")
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def _measurement(data: object, path: Path) -> Measurement:
    try:
        if not isinstance(data, dict):
            raise RecipeError("expected an object.")
        measurement = decode_record(Measurement, migrated_measurement(data), where=path.name)
        check_samples(measurement)
    except EdgesegError as error:
        raise RecipeError(f"{path}: not a measurement: {error}") from None
    return measurement


def _free(path: Path) -> Path:
    """Return `path`, or if it exists, the same with the first free number."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return free


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._]+", "_", text).strip("._") or "unnamed"
