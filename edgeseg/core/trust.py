"""Which artifacts this user's machine knows: made here, vouched for by the user, or run here once without harm.

Inference libraries are not written for hostile model files, so an artifact that is not known is first run in a process
of its own (`edgeseg.runtime.load`). What is known is kept by the artifact's hash, which covers every file of it, in the
user's state folder: `$EDGESEG_STATE_DIR`, or `edgeseg` in `$XDG_STATE_HOME` (`~/.local/state`; `%LOCALAPPDATA%` on
Windows). Where that cannot be written, it is known to this process only.
"""

from __future__ import annotations

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edgeseg.core.files import read_json, write_json
from edgeseg.errors import EdgesegError

if TYPE_CHECKING:
    from edgeseg.core.artifact import Artifact

STATE_VARIABLE = "EDGESEG_STATE_DIR"
ANY_ENGINE = "*"
_SCHEMA = 1
_here: dict[str, set[str]] = {}
"""What this process knows: engines by artifact hash."""

How = Literal["made", "vouched", "ran"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustRecord:
    """One known artifact: the engines on which it may be opened directly, `*` for all, and why."""

    schema: int
    artifact: str
    artifact_sha256: str
    engines: dict[str, How]

    def __post_init__(self) -> None:
        if self.schema != _SCHEMA:
            raise ValueError(f"schema is {self.schema}; this version reads schema = {_SCHEMA}.")


def state_folder() -> Path:
    """Return the folder of what edgeseg remembers about this user's machine; it may not exist yet."""
    chosen = os.environ.get(STATE_VARIABLE)
    if chosen:
        return Path(chosen)
    base = os.environ.get("LOCALAPPDATA" if os.name == "nt" else "XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "edgeseg"


def is_known(artifact: Artifact, *, engine: str) -> bool:
    """Return whether an artifact may be opened directly on an engine."""
    sha256 = artifact.sha256
    known = _here.get(sha256, set())
    if not known & {engine, ANY_ENGINE}:
        record = _read(sha256)
        known = set() if record is None else set(record.engines)
        _here.setdefault(sha256, set()).update(known)
    return bool(known & {engine, ANY_ENGINE})


def remember(artifact: Artifact, *, how: How, engine: str = ANY_ENGINE) -> None:
    """Let an artifact be opened directly from now on, on one engine or on all."""
    sha256 = artifact.sha256
    _here.setdefault(sha256, set()).add(engine)
    path = _place(sha256)
    if path is None:
        return
    before = _read(sha256)
    engines: dict[str, How] = {} if before is None else dict(before.engines)
    if engine in engines:
        return
    record = TrustRecord(
        schema=_SCHEMA, artifact=artifact.manifest.name, artifact_sha256=sha256, engines={**engines, engine: how}
    )
    with contextlib.suppress(OSError):  # a read-only system: the next process finds out again
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_json(record, path)


def _read(sha256: str) -> TrustRecord | None:
    path = _place(sha256)
    try:
        record = None if path is None or not path.is_file() else read_json(TrustRecord, path)
    except (EdgesegError, OSError):  # damaged, or of a newer version: not known
        return None
    return record if record is not None and record.artifact_sha256 == sha256 else None


def _place(sha256: str) -> Path | None:
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        return None
    try:
        return state_folder() / "artifacts" / f"{sha256}.json"
    except RuntimeError:  # no home folder
        return None
