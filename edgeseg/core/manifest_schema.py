"""Manifest schemas: how the manifest's hash is computed, and how older manifests are migrated.

Schema 1 (edgeseg 0.1.0) has only an `engine`, reads its threads from a target file on the device, and lacks `backend`,
`proof`, `preprocess`, `origin` and `placements`. Fields added to it later are left out of its hash if empty (`_LATER`).

Schema 2 is hashed completely. Schema 3 leaves out what differs between two equal conversions (`_NOT_HASHED`): the
times, those of a `choice` too, and the memory; so converting twice gives the same hash. Hashes are computed over the
table as stored in the file, so renamed fields and new fields with defaults do not change them.
"""

from __future__ import annotations

import copy
import json
from typing import Any

from edgeseg.core.files import sha256_of_bytes

MANIFEST_SCHEMA = 3
READABLE_MANIFEST_SCHEMAS = (1, 2, 3)
_LATER = (
    ("spec", "channels"),
    ("spec", "bypassed"),
    ("spec", "rewrites"),
    ("lineage", "steps"),
    ("calibration", "statistics"),
    ("", "temperature"),
)
_NOT_HASHED = (("", "created"), ("", "choice"), ("report", "seconds"), ("report", "peak_memory_mb"))
_REFERENCE_ENGINE = "mil-reference"


def digest(table: dict[str, Any]) -> str:
    """Return the hash of a manifest's table without its `self_sha256`."""
    blank = {**copy.deepcopy(table), "self_sha256": ""}
    if blank.get("schema") == 1:
        for part, key in _LATER:
            inner = blank.get(part) if part else blank
            if isinstance(inner, dict) and not inner.get(key):
                inner.pop(key, None)
    elif blank.get("schema") not in READABLE_MANIFEST_SCHEMAS[:2]:
        for part, key in _NOT_HASHED:
            inner = blank.get(part) if part else blank
            if isinstance(inner, dict):
                inner.pop(key, None)
    return sha256_of_bytes(json.dumps(blank, sort_keys=True, ensure_ascii=False).encode())


def migrated_manifest(table: dict[str, Any]) -> dict[str, Any]:
    """Return a manifest's table in the current schema; `schema` still holds the one it was written in."""
    if table.get("schema") != 1:
        return table
    new = dict(table)
    new["backend"] = {"engine": new.pop("engine", "")}
    parity, spec = new.get("parity"), new.get("spec")
    engine = parity.get("engine") if isinstance(parity, dict) else None
    if isinstance(engine, str) and engine:
        name = engine.split()[0]
        new["proof"] = {"level": "reference" if name == _REFERENCE_ENGINE else "engine", "engine": engine}
    if isinstance(spec, dict):
        new["preprocess"] = spec.get("preprocess")
    return new
