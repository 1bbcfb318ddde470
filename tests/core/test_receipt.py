"""Receipts of one artifact: none takes another's place."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from edgeseg.core.receipt import RECEIPT_SCHEMA, ProofReceipt, read_receipts, write_receipt

if TYPE_CHECKING:
    from pathlib import Path

RECEIPT = ProofReceipt(
    schema=RECEIPT_SCHEMA, created="2026-01-01T00:00:00+00:00", edgeseg_version="1", artifact="a",
    artifact_sha256="0" * 64, device="pi", engine="litert", engine_version="1", delegate="", threads=1, agreement=1.0,
    min_agreement=0.9, reference_agreement=0.9,
)  # fmt: skip


def test_receipts_of_one_second_are_all_kept(tmp_path: Path) -> None:
    given = [
        RECEIPT,
        dataclasses.replace(RECEIPT, threads=4),
        *(dataclasses.replace(RECEIPT, device=name) for name in ("pi_1", "pi-1", "\u6771\u4eac", "\u5927\u962a")),
        *(dataclasses.replace(RECEIPT, device="x" * 300, created=f"2026-01-0{day}T00:00:00+00:00") for day in (1, 2)),
    ]
    written = [write_receipt(item, tmp_path) for item in given]
    assert len(set(written)) == len(given)
    found = read_receipts(tmp_path, artifact_sha256="0" * 64)
    assert sorted(map(repr, found)) == sorted(map(repr, given))
    assert written[0].name == "pi-litert-2026-01-01T00-00-00-00-00.json"
    assert "2026-01-02" in written[-1].name
