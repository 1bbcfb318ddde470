"""`ProofReceipt`: what `edgeseg verify --receipt` on a device stores beside the artifact and sends back.

Receipts are stored in `receipts/*.json`, which the manifest does not list, so a proof on a device changes no checksum.
A receipt names the artifact by its hash and is valid for no other.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgeseg.core.artifact_files import RECEIPTS
from edgeseg.core.files import read_json, write_json
from edgeseg.core.records import bounds
from edgeseg.errors import ArtifactError, InputError

if TYPE_CHECKING:
    from pathlib import Path

RECEIPT_SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofReceipt:
    """One artifact's golden sample on one device: agreement with the labels at conversion and with float PyTorch."""

    schema: int
    created: str
    edgeseg_version: str
    artifact: str
    artifact_sha256: str = field(metadata=bounds(items=(64, 64)))
    device: str
    engine: str
    engine_version: str
    delegate: str
    threads: int = field(metadata=bounds(low=1))
    agreement: float = field(metadata=bounds(low=0, high=1))
    min_agreement: float = field(metadata=bounds(low=0, high=1))
    reference_agreement: float = field(metadata=bounds(low=0, high=1))

    def __post_init__(self) -> None:
        if self.schema != RECEIPT_SCHEMA:
            raise ValueError(f"schema {self.schema} is not known to this version; it reads schema {RECEIPT_SCHEMA}.")


def write_receipt(receipt: ProofReceipt, folder: Path) -> Path:
    """Write a receipt below the artifact's `folder` and return its file; older receipts are kept.

    Raises:
        InputError: the folder cannot be written.
    """
    # Long names are cut, the time is not.
    stem = _plain(f"{_plain(receipt.device)[:100]}-{_plain(receipt.engine)[:50]}-{receipt.created}")[:200]
    path = folder / RECEIPTS / f"{stem}.json"
    try:
        path.parent.mkdir(exist_ok=True)
        for number in itertools.count(2):
            if not path.exists():
                break
            path = path.with_name(f"{stem}-{number}.json")
        write_json(receipt, path)
    except OSError as error:
        raise InputError(f"{path}: the receipt cannot be written: {error.strerror}.") from None
    return path


def _plain(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9-]+", "-", text).strip("-")


def read_receipts(folder: Path, *, artifact_sha256: str) -> tuple[ProofReceipt, ...]:
    """Return the receipts beside an artifact, sorted by file name.

    Raises:
        ArtifactError: a receipt belongs to another artifact.
        RecipeError: a receipt does not follow the schema.
    """
    found = []
    for path in sorted((folder / RECEIPTS).glob("*.json")):
        receipt = read_json(ProofReceipt, path)
        if receipt.artifact_sha256 != artifact_sha256:
            raise ArtifactError(f"{path}: belongs to another artifact ({receipt.artifact_sha256[:12]}). Remove it.")
        found.append(receipt)
    return tuple(found)
