"""The manifest of a fresh artifact: a draft for opening it, then the sealed one with its proof."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from edgeseg.core.artifact import MANIFEST, Golden, Lineage, Manifest, Parity, list_files
from edgeseg.core.files import write_json
from edgeseg.core.gate import GateReport
from edgeseg.core.manifest_schema import MANIFEST_SCHEMA
from edgeseg.core.proof import Proof
from edgeseg.core.version import VERSION

if TYPE_CHECKING:
    from pathlib import Path

    from edgeseg.core.exported import Conversion
    from edgeseg.core.quantization import CalibrationSet
    from edgeseg.core.spec import ModelSpec
    from edgeseg.core.temperature import Temperature
    from edgeseg.deploy.plan import PlannedArtifact
    from edgeseg.models import Checkpoint

NO_GOLDEN = Golden(image="", input_sha256="", expected="", reference="", engine="", min_agreement=1.0)
NO_PARITY = Parity(engine="", images=0, sqnr_db=None, label_agreement=0.0, max_abs_error=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """The golden samples, the parity, the gate's report and the level of the proof, for the manifest."""

    golden: Golden
    parity: Parity
    proof: Proof
    gate: GateReport | None = None


def draft(
    item: PlannedArtifact,
    conversion: Conversion,
    *,
    spec: ModelSpec,
    lineage: Lineage,
    calibration: CalibrationSet | None,
    temperature: Temperature | None = None,
    macs: int | None = None,
) -> Manifest:
    """Return the manifest as known before the proof, enough for an engine to open the artifact."""
    return Manifest(
        schema=MANIFEST_SCHEMA,
        name=f"{spec.name}-{item.format}-{item.precision}{'-native' if conversion.report.calibrator else ''}",
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        edgeseg_version=VERSION,
        format=item.format,
        backend=item.backend,
        entry=conversion.entry,
        files=(),
        spec=spec,
        preprocess=conversion.preprocess,
        inputs=(conversion.input,),
        outputs=(conversion.output,),
        scheme=conversion.scheme,
        target=item.target,
        lineage=lineage,
        calibration=calibration,
        golden=NO_GOLDEN,
        parity=NO_PARITY,
        placements=conversion.ops,
        report=conversion.report,
        licence=spec.licence,
        notice=spec.notice,
        temperature=temperature,
        macs=macs,
    )


def seal(manifest: Manifest, *, proven: Proven, folder: Path) -> Manifest:
    """Write the finished manifest, with every file's hash, into `folder` and return it."""
    files = list_files(folder)
    whole = dataclasses.replace(
        manifest, golden=proven.golden, proof=proven.proof, parity=proven.parity, gate=proven.gate, files=files
    ).sealed()
    write_json(whole, folder / MANIFEST)
    return whole


def lineage_of(checkpoint: Checkpoint) -> Lineage:
    """Return where a checkpoint's weights come from, from its lineage.json and training.json."""
    from edgeseg.models.checkpoint import read_training
    from edgeseg.models.lineage import read_lineage

    steps = read_lineage(checkpoint.folder)
    training = read_training(checkpoint.folder)
    command, seed = training.get("command"), training.get("seed")
    return Lineage(
        checkpoint=checkpoint.spec.name,
        weights_sha256=checkpoint.spec.weights_sha256,
        training_command=command if isinstance(command, str) else "",
        training_data=_trained_on(training.get("data")),
        seed=seed if isinstance(seed, int) and not isinstance(seed, bool) else None,
        parents=tuple(step.parent_sha256 for step in steps if step.parent_sha256),
        steps=steps,
    )


def _trained_on(data: object) -> str:
    """Return "camvid train, 367 images" from what training.json says of its data; empty if it has none."""
    train = data.get("train") if isinstance(data, dict) else None
    if not isinstance(train, dict):
        return ""
    return f"{train.get('name')} {train.get('split')}, {train.get('images')} images"
