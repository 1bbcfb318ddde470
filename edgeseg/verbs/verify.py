"""Verification of an artifact on this machine, optionally with a receipt."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from edgeseg.bench.devices import describe_device
from edgeseg.core.receipt import RECEIPT_SCHEMA, ProofReceipt, write_receipt
from edgeseg.core.version import VERSION
from edgeseg.runtime import Limits, Verification
from edgeseg.runtime import verify as verify_golden


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """The verification, and the receipt's file if one was written."""

    verification: Verification
    receipt: Path | None


def verify_artifact(
    artifact: Path | str,
    *,
    engine: str | None = None,
    threads: int | None = None,
    limits: Limits | None = None,
    receipt: bool = False,
    device: str | None = None,
) -> Verified:
    """Return the verification of an artifact; with `receipt`, also write `receipts/...json` into its folder.

    `device` names this machine in the receipt, instead of the board's or the CPU's own name. Raises what
    `edgeseg.runtime.verify` does, and `InputError` where the receipt cannot be written.
    """
    found = verify_golden(artifact, engine=engine, threads=threads, limits=limits)
    if not receipt:
        return Verified(verification=found, receipt=None)
    made = ProofReceipt(
        schema=RECEIPT_SCHEMA,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        edgeseg_version=VERSION,
        artifact=found.artifact,
        artifact_sha256=found.artifact_sha256,
        device=describe_device(name=device).name,
        engine=found.engine,
        engine_version=found.engine_version,
        delegate=found.delegate,
        threads=found.threads,
        agreement=found.agreement,
        min_agreement=found.min_agreement,
        reference_agreement=found.reference_agreement,
    )
    return Verified(verification=found, receipt=write_receipt(made, Path(artifact)))
