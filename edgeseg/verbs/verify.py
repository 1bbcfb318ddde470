"""Verification of an artifact on this machine, optionally with a receipt."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from edgeseg.bench.devices import describe_device
from edgeseg.core.artifact import open_artifact
from edgeseg.core.placement import OpPlacement, require_delegated
from edgeseg.core.receipt import ProofReceipt, write_receipt
from edgeseg.errors import GateError, InputError
from edgeseg.runtime import Limits, Verification
from edgeseg.runtime import verify as verify_golden
from edgeseg.runtime.session.placing import placements_here
from edgeseg.runtime.session.verify import receipt_of

_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """The verification, and if one was written, the receipt and its file.

    `placements` are the ops that ran, by the engine's own account; empty unless some were required to be delegated.
    """

    verification: Verification
    receipt: Path | None
    proof: ProofReceipt | None = None
    placements: tuple[OpPlacement, ...] = ()


def verify_artifact(
    artifact: Path | str,
    *,
    engine: str | None = None,
    threads: int | None = None,
    limits: Limits | None = None,
    receipt: bool = False,
    device: str | None = None,
    sha256: str | None = None,
    require_delegation: float | None = None,
) -> Verified:
    """Return the verification of an artifact; with `receipt`, also write `receipts/...json` into its folder.

    `device` names this machine in the receipt, instead of the board's or the CPU's own name. With `sha256`, the
    artifact's hash must be this one, known from elsewhere: whoever can replace the folder can write its checksums too.
    With `require_delegation`, that many percent of the ops must run on the accelerator, as the engine reports.

    Raises:
        GateError: the artifact's hash is another one, too few ops ran on the accelerator, or as
            `edgeseg.runtime.verify` does.
        UnsupportedError: the engine does not tell where ops ran.
        InputError: `sha256` is not a hash, or the receipt cannot be written.
        Others as `edgeseg.runtime.verify` does.
    """
    if sha256 is not None:
        _check_digest(Path(artifact), sha256)
    found = verify_golden(artifact, engine=engine, threads=threads, limits=limits)
    placements: tuple[OpPlacement, ...] = ()
    if require_delegation is not None:
        opened = open_artifact(artifact)
        placements = placements_here(opened, engine=found.engine, threads=found.threads)
        require_delegated(placements, percent=require_delegation, name=f"{opened.manifest.name} on {found.engine}")
    if not receipt:
        return Verified(verification=found, receipt=None, placements=placements)
    made = receipt_of(found, device=describe_device(name=device).name)
    written = write_receipt(made, Path(artifact))
    return Verified(verification=found, receipt=written, proof=made, placements=placements)


def _check_digest(folder: Path, wanted: str) -> None:
    if _DIGEST.fullmatch(wanted.lower()) is None:
        raise InputError(f"--sha256 {wanted}: a SHA-256 has 64 hexadecimal digits. edgeseg convert --json gives it.")
    found = open_artifact(folder).sha256
    if found != wanted.lower():
        raise GateError(
            f"{folder}: is {found[:12]}..., not {wanted[:12].lower()}...: another artifact, or a replaced one."
        )
