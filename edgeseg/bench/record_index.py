"""An SQLite index of measurement files, for those who query many of them; the JSON files stay the records."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.bench.record import read_if_record, record_files
from edgeseg.core.progress import Progress, no_progress
from edgeseg.core.records import encode_record
from edgeseg.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edgeseg.core.measurement import Measurement

INDEX_SCHEMA = 1
_APPLICATION = 0x65647365
"""SQLite's application_id of an index ("edse"): any other database is left alone."""
_TABLES = """
CREATE TABLE files (file TEXT PRIMARY KEY, bytes INTEGER, changed_ns INTEGER) WITHOUT ROWID;
CREATE TABLE measurements (
  file TEXT PRIMARY KEY REFERENCES files ON DELETE CASCADE, created TEXT, device TEXT, emulated INTEGER,
  throttled INTEGER, artifact TEXT, artifact_sha256 TEXT, model TEXT, format TEXT, precision TEXT, height INTEGER,
  width INTEGER, engine TEXT, engine_version TEXT, delegate TEXT, threads INTEGER, size_mb REAL, fps REAL,
  peak_memory_mb REAL, energy_mj REAL, data TEXT, split TEXT, images INTEGER, data_sha256 TEXT, record TEXT
) WITHOUT ROWID;
CREATE TABLE latency (
  file TEXT REFERENCES files ON DELETE CASCADE, stage TEXT, runs INTEGER, min_ms REAL, mean_ms REAL, p50_ms REAL,
  p90_ms REAL, p99_ms REAL, PRIMARY KEY (file, stage)
) WITHOUT ROWID;
CREATE TABLE metrics (
  file TEXT REFERENCES files ON DELETE CASCADE, metric TEXT, class TEXT, value REAL, PRIMARY KEY (file, metric, class)
) WITHOUT ROWID;
CREATE INDEX by_device ON measurements (device, artifact, created);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexUpdate:
    """How many measurements an index has, how many new or changed files were read, and how many are gone."""

    measurements: int
    read: int
    removed: int


def update_index(
    database: Path | str, paths: Sequence[Path | str], *, on_progress: Progress | None = None
) -> IndexUpdate:
    """Bring the SQLite index in `database` up to date with the measurements in files and folders, and say what changed.

    Only files whose size or time changed are read again; those that are gone are removed. Tables: `measurements`, one
    row each with its JSON object in `record`; `latency`, one row for each stage; `metrics`, one row for each metric and
    class ("" for all classes). Everything is one transaction: after an error or an interruption the index is as before.

    Raises:
        InputError: no measurement, a path that does not exist, or a database that is not such an index or cannot be
            written.
        RecipeError: a file that is not a measurement, as `read_measurement` says.
    """
    database = Path(database)
    tell = on_progress or no_progress
    found = {_name(file.path): file for path in map(Path, paths) for file in record_files(path)}
    with _opened(database) as index:
        known = {file: (size, time) for file, size, time in index.execute("SELECT file, bytes, changed_ns FROM files")}
        gone = sorted(known.keys() - found.keys())
        index.executemany("DELETE FROM files WHERE file = ?", [(file,) for file in gone])
        read = 0
        for done, (name, file) in enumerate(found.items()):
            if not file.path.exists():
                raise InputError(f"{file.path}: no such file or folder.")
            state = file.path.stat()
            if known.get(name) != (state.st_size, state.st_mtime_ns):
                index.execute("DELETE FROM files WHERE file = ?", (name,))
                index.execute("INSERT INTO files VALUES (?, ?, ?)", (name, state.st_size, state.st_mtime_ns))
                measurement = read_if_record(file)
                if measurement is not None:
                    _insert(index, name, measurement)
                read += 1
            tell("index", done + 1, len(found))
        (count,) = index.execute("SELECT count(*) FROM measurements").fetchone()
        if not count:
            raise InputError("No measurement was given. Give JSON files that edgeseg bench --out wrote.")
    return IndexUpdate(measurements=count, read=read, removed=len(gone))


def _name(path: Path) -> str:
    """Return a file's full name as the index keeps it, which is UTF-8 alone: other bytes become escapes."""
    return os.fsencode(path.resolve()).decode(errors="backslashreplace")


@contextlib.contextmanager
def _opened(database: Path) -> Iterator[sqlite3.Connection]:
    """Yield a connection within one transaction, to an index that is made if there is none."""
    if database.is_dir():
        raise InputError(f"{database}: is a folder; name a file for the index, such as results.sqlite.")
    try:
        with contextlib.closing(sqlite3.connect(database, isolation_level=None)) as index:
            index.execute("PRAGMA foreign_keys = ON")
            index.execute("BEGIN IMMEDIATE")
            try:
                _prepare(index, database)
                yield index
            except BaseException:
                index.execute("ROLLBACK")
                raise
            index.execute("COMMIT")
    except sqlite3.Error as error:
        raise InputError(f"{database}: cannot be used as an index: {error}.") from None


def _prepare(index: sqlite3.Connection, database: Path) -> None:
    (kind,), (version,) = (
        index.execute("PRAGMA application_id").fetchone(),
        index.execute("PRAGMA user_version").fetchone(),
    )
    if kind == _APPLICATION and version == INDEX_SCHEMA:
        return
    if kind == _APPLICATION:
        raise InputError(
            f"{database}: is an index of schema {version}; this version writes {INDEX_SCHEMA}. Delete it, and it is "
            "made again."
        )
    if index.execute("SELECT count(*) FROM sqlite_master").fetchone() != (0,):
        raise InputError(f"{database}: is a database, but not an index of measurements. Choose another name.")
    for statement in _TABLES.split(";"):
        index.execute(statement)
    index.execute(f"PRAGMA application_id = {_APPLICATION}")
    index.execute(f"PRAGMA user_version = {INDEX_SCHEMA}")


def _insert(index: sqlite3.Connection, file: str, item: Measurement) -> None:
    scored = item.accuracy
    row = (
        file, item.created, item.device.name, item.device.emulated, item.device.throttled, item.artifact,
        item.artifact_sha256, item.model, item.format, item.precision, *item.input_size, item.engine,
        item.engine_version, item.delegate, item.threads, item.size_mb, item.fps, item.peak_memory_mb, item.energy_mj,
        *((scored.data, scored.split, scored.images, scored.data_sha256) if scored else (None,) * 4),
        json.dumps(encode_record(item), ensure_ascii=False, allow_nan=False),
    )  # fmt: skip
    index.execute(f"INSERT INTO measurements VALUES ({', '.join('?' * len(row))})", row)
    index.executemany(
        "INSERT INTO latency VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [(file, at.stage, at.runs, at.min_ms, at.mean_ms, at.p50_ms, at.p90_ms, at.p99_ms) for at in item.latency],
    )
    metrics = scored.metrics if scored else {}
    index.executemany(
        "INSERT INTO metrics VALUES (?, ?, ?, ?)",
        [
            (file, name, of_class, value)
            for name, metric in metrics.items()
            for of_class, value in (("", metric.value), *(metric.per_class or {}).items())
        ],
    )
