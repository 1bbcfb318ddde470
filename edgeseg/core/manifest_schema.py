"""Schemas of the manifest: how its own hash is taken, and how an older table becomes today's.

Schema 1 (edgeseg 0.1.0) named the `engine` alone, took its threads from a target file on the device, and had neither
`backend`, `proof`, `preprocess`, `origin` nor `placements`. Some of its fields came later and are left out of its hash
where they are empty (`_LATER`).

Schema 2 is hashed whole. Both hashes are taken over the table as it stands in the file, so that renamed fields and new
ones with a default leave them as they are.
"""

from __future__ import annotations

import copy
import json
from typing import Any

from edgeseg.core.files import sha256_of_bytes

SCHEMA = 2
SCHEMAS = (1, 2)
_LATER = (
    ("spec", "channels"),
    ("spec", "bypassed"),
    ("lineage", "steps"),
    ("calibration", "statistics"),
    ("", "temperature"),
)
_REFERENCE_ENGINE = "mil-reference"


def digest(table: dict[str, Any]) -> str:
    """Return the hash of a manifest's table, its own `self_sha256` left out."""
    blank = {**copy.deepcopy(table), "self_sha256": ""}
    if blank.get("schema") == 1:
        for part, key in _LATER:
            inner = blank.get(part) if part else blank
            if isinstance(inner, dict) and not inner.get(key):
                inner.pop(key, None)
    return sha256_of_bytes(json.dumps(blank, sort_keys=True, ensure_ascii=False).encode())


def migrated(table: dict[str, Any]) -> dict[str, Any]:
    """Return a manifest's table in today's schema; `schema` still says which one it was written in."""
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
