"""The proof of a fresh artifact: run on its engine against the float checkpoint, before anything is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeseg.core.artifact import Artifact, Parity
from edgeseg.core.gate import ArithmeticReport, GateReport
from edgeseg.core.proof import Proof
from edgeseg.deploy.diagnosis import diagnose_artifact
from edgeseg.deploy.gate import given_labels, judge, wanted_labels
from edgeseg.deploy.golden_samples import promised_samples, write_samples
from edgeseg.deploy.manifest import NO_PARITY, Proven
from edgeseg.deploy.refusal import refusal
from edgeseg.errors import ArtifactError, GateError, MissingDependency, UnsupportedError
from edgeseg.metrics.agreement import LogitAgreement
from edgeseg.pixels import prepare, real_logits

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from edgeseg.core.exported import Conversion, ExportedModel
    from edgeseg.core.protocols import Engine
    from edgeseg.deploy.reference import Reference
    from edgeseg.runtime import Session


def prove_here(
    artifact: Artifact,
    conversion: Conversion,
    *,
    reference: Reference,
    refused: Path,
    arithmetic: ArithmeticReport | None = None,
) -> Proven:
    """Return the proof that this machine can give of an artifact whose manifest is not on disk yet.

    The first engine of `conversion.provable_by` that is installed runs it. Without one the level is "none", the reason
    says which engine is missing, and the golden samples have the float checkpoint's labels, so that `verify` on a
    device proves as much as a proof here would have. `arithmetic` is the emulated run of a precision that this
    machine's engines do not compute in. The worst image of a refused artifact is written to `refused`.

    Raises:
        GateError: the engine fails on it, or a measure is below its threshold.
    """
    engine, reason = engine_here(conversion, preferred=artifact.manifest.engine)
    if engine is None:
        return _promised(artifact, reference, reason=reason)
    try:
        opened = open_for_proof(artifact, engine=engine.name)
    except UnsupportedError as error:
        if engine.proof != "reference":
            raise
        # Our evaluator lacks an op that the device's own engine has.
        return _promised(artifact, reference, reason=str(error))
    with opened as session:
        outputs = [run_checked(session, image) for image in reference.images]
        gate = _gate(session, outputs, reference=reference, refused=refused, arithmetic=arithmetic)
        golden = write_samples(session, outputs, reference=reference, engines=conversion.provable_by)
        parity = _parity(session, outputs, reference, gate)
    return Proven(
        golden=golden, parity=parity, gate=gate, proof=Proof(level=engine.proof, engine=engine.name, reason=reason)
    )


def _promised(artifact: Artifact, reference: Reference, *, reason: str) -> Proven:
    golden = promised_samples(artifact, reference=reference)
    return Proven(golden=golden, parity=NO_PARITY, proof=Proof(level="none", reason=reason))


def engine_here(conversion: Conversion, *, preferred: str) -> tuple[Engine | None, str]:
    """Return the first engine that can run a conversion here, and why earlier ones cannot."""
    from edgeseg.core import registry
    from edgeseg.core.protocols import Engine

    if not conversion.provable_by:
        return None, "no engine runs this format here"
    reasons: list[str] = []
    for name in sorted(conversion.provable_by, key=lambda name: name != preferred):
        try:
            found = registry.load_as("engines", name, Engine)  # type: ignore[type-abstract]
        except MissingDependency as error:
            reasons.append(str(error))
            continue
        status = found.status()
        if status.available:
            return found, "; ".join(reasons)
        reasons.append(f"{name}: {status.reason} {status.fix}".strip())
    return None, "; ".join(reasons)


def run_checked(session: Session, image: NDArray[np.uint8]) -> NDArray[Any]:
    """Return an artifact's raw output for an image (H, W, 3) BGR.

    Raises:
        GateError: the engine fails on it, or the output has another shape than declared, or holds NaN, infinity, or a
            class that the net does not have.
    """
    manifest = session.artifact.manifest
    try:
        output = session.infer(session.preprocess(image))
    except ArtifactError as error:
        raise GateError(
            f"{manifest.name} is refused: {error} For NaN or infinity, a weight, a scale or an overflow in float16 is "
            "the usual cause: edgeseg debug-quant and edgeseg bisect name the layer; fp32 avoids the last two."
        ) from None
    classes = len(manifest.spec.classes)
    if session.output.role == "labels" and not 0 <= int(output.min()) <= int(output.max()) < classes:
        raise GateError(
            f"{manifest.name} is refused: it gives class {int(output.max())}; the net has {classes} classes, from 0."
        )
    return output


def emulate(exported: ExportedModel, *, reference: Reference, name: str) -> ArithmeticReport | None:
    """Return how the float graph does in half precision, None for a scheme that does not ask for it.

    Engines on this CPU would compute such a graph in float32, which proves nothing about a device that does not.

    Raises:
        GateError: a layer's values do not fit the type.
    """
    dtype = {"fp16": "float16", "bf16": "bfloat16"}.get(exported.scheme.mode)
    if dtype is None:
        return None
    import torch

    from edgeseg.export.half_arithmetic import HalfArithmetic

    limit = torch.finfo(getattr(torch, dtype)).max
    runner = HalfArithmetic(exported.program().module(), dtype=dtype)
    met, equal, peak, layer = LogitAgreement(), [], 0.0, ""
    for index, image in enumerate(reference.images):
        run = runner.half_run(prepare(image, preprocess=exported.preprocess, tensor=exported.input))
        if not run.peak <= limit:
            raise GateError(
                f"{name} is refused: {run.layer} reaches {run.peak:.4g} and {dtype} ends at {limit:.6g}. Convert to "
                "fp32 or int8, or scale the weights around that layer (a stage of kind equalize does)."
            )
        if run.peak > peak:
            peak, layer = run.peak, run.layer
        given = np.asarray(run.output)
        if exported.output.role == "logits":
            met.update(given[0], reference.logits[index][0])
        wanted = wanted_labels(reference, index, tensor=exported.output)
        equal.append(float(np.mean(given_labels(given, tensor=exported.output, reference=reference) == wanted)))
    return ArithmeticReport(
        dtype=dtype,
        peak=peak,
        layer=layer,
        label_agreement=float(np.mean(equal)),
        sqnr_db=met.sqnr_db if exported.output.role == "logits" else None,
    )


def _gate(
    session: Session,
    outputs: Sequence[NDArray[Any]],
    *,
    reference: Reference,
    refused: Path,
    arithmetic: ArithmeticReport | None,
) -> GateReport:
    manifest = session.artifact.manifest
    judged = judge(outputs, tensor=session.output, reference=reference, scheme=manifest.scheme, arithmetic=arithmetic)
    if not judged.failures:
        refused.unlink(missing_ok=True)
        return judged.report
    raise refusal(
        judged,
        name=manifest.name,
        engine=f"{session.engine} {session.engine_version}",
        scheme=manifest.scheme,
        reference=reference,
        diagnosis=diagnose_artifact(
            outputs,
            tensor=session.output,
            reference=reference,
            rerun=lambda image: session.infer(session.preprocess(image)),
        ),
        png=refused,
    )


def _parity(session: Session, outputs: Sequence[NDArray[Any]], reference: Reference, gate: GateReport) -> Parity:
    worst = None
    if session.output.role == "logits":
        pairs = zip(outputs, reference.logits, strict=True)
        worst = max(float(np.abs(real_logits(output, session.output) - wanted).max()) for output, wanted in pairs)
    return Parity(
        engine=f"{session.engine} {session.engine_version}",
        images=len(outputs),
        sqnr_db=gate.sqnr_db,
        label_agreement=gate.label_agreement,
        max_abs_error=worst,
    )


def open_for_proof(artifact: Artifact, *, engine: str | None = None) -> Session:
    """Return a session on an artifact whose manifest is not on disk yet, on `engine` or one that fits this machine.

    Raises:
        MissingDependency: no engine for the format is installed here.
    """
    from edgeseg.runtime.session import session

    return session.open_session(artifact, engine=engine)
