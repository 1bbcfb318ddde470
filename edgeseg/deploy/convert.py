"""A checkpoint to proven artifacts: plan, check, export, convert, prove, write."""

from __future__ import annotations

import dataclasses
import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgeseg.core.artifact import Artifact, open_artifact
from edgeseg.core.exported import ExportedModel
from edgeseg.core.files import new_folder, refuse_foreign
from edgeseg.core.progress import Progress, no_progress
from edgeseg.core.proof import Proof
from edgeseg.core.quantization import RANGES_FILE, SCHEMES, Precision, Ranges, read_ranges
from edgeseg.core.temperature import read_temperature
from edgeseg.deploy.plan import PlannedArtifact, Wanted, converter_for, plan_artifacts
from edgeseg.deploy.prove import PROOF_IMAGES
from edgeseg.errors import InputError
from edgeseg.export import Output
from edgeseg.models import Checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeseg.core.spec import ModelSpec
    from edgeseg.deploy.prove import Reference


# These start from the torch program; everything else may read the ONNX file, which takes seconds to write.
WITHOUT_ONNX = frozenset({"tflite", "coreml", "executorch"})

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionPlan:
    """What `convert` would do: from which checkpoint, at which size, with which int8 ranges, to which artifacts."""

    model: str
    checkpoint: Path
    size: tuple[int, int]
    output: Output
    ranges: str
    artifacts: tuple[PlannedArtifact, ...]
    licence: str
    notice: str


def plan(
    model: str | Path | None,
    *,
    target: str | tuple[str, ...],
    precision: Wanted = "auto",
    calibration: str | None = None,
    size: tuple[int, int] | None = None,
    output: Output = "logits",
    out: Path | None = None,
    force: bool = False,
) -> ConversionPlan:
    """Return what `convert` would do with the same arguments, after every check that is quick.

    Raises:
        UnknownName, InputError, RecipeError: a target, model, size, destination or calibration that cannot be used;
            int8 without ranges.
        MissingDependency, UnsupportedError: a converter that cannot work here, or a precision that it does not have.
        CheckpointError: a checkpoint that does not hold together.
    """
    from edgeseg.models.architecture import architecture, check_size
    from edgeseg.models.checkpoint import at_size, read_spec, resolve_model

    texts = (target,) if isinstance(target, str) else target
    plan_artifacts(texts, precision=precision, has_ranges=False, model="", out=out)
    folder = resolve_model(None if model is None else str(model))
    spec = read_spec(folder)
    if size is not None:
        check_size(size, multiple=architecture(spec.architecture).size_multiple, name=spec.architecture)
        spec = at_size(spec, size=size)
    ranges = _ranges_source(folder, calibration=calibration, force=force)
    name = _slug(spec.name)
    artifacts = plan_artifacts(texts, precision=precision, has_ranges=bool(ranges), model=name, out=out)
    _check(artifacts, ranges=ranges)
    return ConversionPlan(
        model=spec.name,
        checkpoint=folder,
        size=spec.size,
        output=output,
        ranges=ranges if any(item.precision == "int8" for item in artifacts) else "",
        artifacts=artifacts,
        licence=spec.licence,
        notice=spec.notice,
    )


def convert(
    model: str | Path | None,
    *,
    target: str | tuple[str, ...],
    precision: Wanted = "auto",
    calibration: str | None = None,
    size: tuple[int, int] | None = None,
    output: Output = "logits",
    out: Path | None = None,
    force: bool = False,
    on_progress: Progress | None = None,
) -> tuple[Artifact, ...]:
    """Return the artifacts of a checkpoint for one or more targets, each proven against float PyTorch.

    `target` is a format, a device or a `./board.toml`. "auto" takes a device's first precision, and int8 for a bare
    format where ranges are at hand, else fp32. int8 ranges come from `calibration` (a folder of training images or
    `streets[:count[:seed]]`; val and test images only with `force`) or from the checkpoint's own ranges.json.

    Raises:
        GateError: an artifact does not agree with the checkpoint; it is not written, and those before it stay.
        ConversionError: a vendor's tool failed.
        Others as `plan` does, all before any slow work.
    """
    from edgeseg.models.checkpoint import load_checkpoint

    planned = plan(
        model,
        target=target,
        precision=precision,
        calibration=calibration,
        size=size,
        output=output,
        out=out,
        force=force,
    )
    tell = on_progress or no_progress
    checkpoint = load_checkpoint(planned.checkpoint)
    ranges = _ranges(checkpoint, planned, calibration=calibration, force=force, tell=tell)
    reference = _reference(checkpoint, planned, calibration=calibration, force=force)
    made: list[Artifact] = []
    with tempfile.TemporaryDirectory(prefix="edgeseg-") as workdir:
        exported = _Exports(checkpoint=checkpoint, plan=planned, ranges=ranges, workdir=Path(workdir), done={})
        for index, item in enumerate(planned.artifacts):
            tell("convert", index, len(planned.artifacts))
            made.append(_make(item, exported.get(item.precision), checkpoint, reference=reference, ranges=ranges))
        tell("convert", len(planned.artifacts), len(planned.artifacts))
    return tuple(made)


def _make(
    item: PlannedArtifact,
    exported: ExportedModel,
    checkpoint: Checkpoint,
    *,
    reference: Reference,
    ranges: Ranges | None,
) -> Artifact:
    """Convert, prove and write one artifact; nothing is left behind where a step fails."""
    from edgeseg.deploy.manifest import draft, lineage_of, seal
    from edgeseg.deploy.prove import open_session, prove

    calibrated = ranges.calibration if ranges is not None and item.precision == "int8" else None
    with new_folder(item.path) as folder:
        conversion = converter_for(item.format).convert(exported, folder=folder)
        first = draft(
            item,
            conversion,
            spec=exported.spec,
            lineage=lineage_of(checkpoint),
            calibration=calibrated,
            temperature=read_temperature(checkpoint.folder, weights_sha256=checkpoint.spec.weights_sha256),
        )
        with open_session(Artifact(folder=folder, manifest=first)) as session:
            golden, parity = prove(session, reference=reference)
            proof = Proof(level=session.proof_level, engine=parity.engine)
        seal(first, golden=golden, proof=proof, parity=parity, folder=folder)
    return open_artifact(item.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Exports:
    """The deployment graph, exported once for each precision that is wanted."""

    checkpoint: Checkpoint
    plan: ConversionPlan
    ranges: Ranges | None
    workdir: Path
    done: dict[str, ExportedModel]

    def get(self, precision: Precision) -> ExportedModel:
        """Return the graph for a precision; fp16 starts from the float32 one."""
        from edgeseg.export import export

        graph: Precision = "int8" if precision == "int8" else "fp32"
        if graph not in self.done:
            formats = {item.format for item in self.plan.artifacts if (item.precision == "int8") == (graph == "int8")}
            self.done[graph] = export(
                self.checkpoint,
                size=self.plan.size,
                precision=graph,
                output=self.plan.output,
                ranges=self.ranges,
                workdir=self.workdir,
                onnx=not formats <= WITHOUT_ONNX,
            )
        found = self.done[graph]
        return found if precision != "fp16" else dataclasses.replace(found, scheme=SCHEMES["fp16"])


def _check(artifacts: tuple[PlannedArtifact, ...], *, ranges: str) -> None:
    for name in dict.fromkeys(item.format for item in artifacts):
        converter_for(name).check()
    for item in artifacts:
        refuse_foreign(item.path)
        if item.precision == "int8" and not ranges:
            raise InputError(
                f"{item.target}: int8 needs activation ranges, and this checkpoint carries none. Give training "
                "images (--calibration DIR, or streets:64), or ask for --precision fp32."
            )


def _ranges_source(folder: Path, *, calibration: str | None, force: bool) -> str:
    """Return where int8 ranges come from, in words; empty where there are none."""
    if calibration is not None:
        from edgeseg.calibration import open_source

        open_source(calibration, force=force)
        return f"observed on {calibration}"
    path = _carried(folder)
    return f"carried by the checkpoint ({RANGES_FILE})" if path.is_file() else ""


def _carried(folder: Path) -> Path:
    return (folder if folder.is_dir() else folder.parent) / RANGES_FILE


def _ranges(
    checkpoint: Checkpoint, planned: ConversionPlan, *, calibration: str | None, force: bool, tell: Progress
) -> Ranges | None:
    if not planned.ranges:
        return None
    if calibration is None:
        return read_ranges(_carried(planned.checkpoint))
    from edgeseg.export import calibrate

    done = calibrate(checkpoint, calibration, force=force, on_progress=tell)
    for finding in done.findings:
        _log.warning("calibration: %s", finding)
    return done.ranges


def _reference(checkpoint: Checkpoint, planned: ConversionPlan, *, calibration: str | None, force: bool) -> Reference:
    from edgeseg.deploy.prove import make_reference
    from edgeseg.models.checkpoint import at_size

    spec: ModelSpec = at_size(checkpoint.spec, size=planned.size)
    images = tuple(_proof_images(calibration, force=force))
    return make_reference(checkpoint, spec=spec, images=images)


def _proof_images(calibration: str | None, *, force: bool) -> Iterator[np.ndarray]:
    """Yield images for the parity: from the calibration set, else rendered streets that no net was trained on."""
    if calibration is None:
        from edgeseg.data import StreetsDataset

        streets = StreetsDataset(split="test", count=PROOF_IMAGES)
        yield from (streets.load(index).image for index in range(len(streets)))
        return
    from edgeseg.calibration import open_source

    source = open_source(calibration, force=force)
    for index in np.linspace(0, len(source) - 1, min(PROOF_IMAGES, len(source)), dtype=int):
        yield source.load_image(int(index))


def _slug(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in name) or "model"
