"""A Core ML package without what differs between equal conversions: random identifiers, dates, the order of maps."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_MANIFEST = "Manifest.json"
_DATE = "com.github.apple.coremltools.conversion_date"


def make_reproducible(package: Path) -> None:
    """Rewrite a saved `.mlpackage` in place so that the same conversion gives the same bytes.

    Its manifest names each item by a random UUID; here it follows from the item's path.
    """
    from coremltools.proto import Model_pb2

    path = package / _MANIFEST
    manifest = json.loads(path.read_text(encoding="utf-8"))
    names = {
        old: str(uuid.uuid5(uuid.NAMESPACE_URL, item["path"])).upper()
        for old, item in manifest["itemInfoEntries"].items()
    }
    manifest["itemInfoEntries"] = {names[old]: item for old, item in manifest["itemInfoEntries"].items()}
    manifest["rootModelIdentifier"] = names[manifest["rootModelIdentifier"]]
    path.write_text(json.dumps(manifest, indent=4, sort_keys=True), encoding="utf-8")
    model = package / "Data" / manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"]
    spec = Model_pb2.Model()
    spec.ParseFromString(model.read_bytes())
    spec.description.metadata.userDefined.pop(_DATE, None)
    model.write_bytes(spec.SerializeToString(deterministic=True))
