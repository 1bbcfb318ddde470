"""What a checkpoint or an artifact is: spec, cost, pruned layers, ranges, lineage, licence. Artifacts need no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.core.artifact import MANIFEST, open_artifact
from edgeseg.core.choice import Choice
from edgeseg.core.gate import GateReport
from edgeseg.core.lineage import LineageStep
from edgeseg.core.quantization import RANGES_FILE, read_ranges
from edgeseg.core.spec import ModelSpec, Preprocess, TensorSpec

if TYPE_CHECKING:
    from edgeseg.core.spec_file import SpecFile
    from edgeseg.models import Checkpoint, Model


@dataclass(frozen=True, slots=True, kw_only=True)
class PrunedLayer:
    """A layer's outputs in the architecture and in this net."""

    name: str
    before: int
    after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RangesAccount:
    """Where a checkpoint's or artifact's activation ranges come from, and what stays in float."""

    count: int
    observer: str
    mode: str
    images: int
    source: str
    float_layers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """A checkpoint or an artifact, from its own files. Values that an artifact lacks are None or empty."""

    kind: str
    path: Path
    spec: ModelSpec
    macs: int | None
    parameters: int | None
    pruned: tuple[PrunedLayer, ...]
    ranges: RangesAccount | None
    lineage: tuple[LineageStep, ...]
    licence: str
    notice: str
    format: str = ""
    precision: str = ""
    size_bytes: int | None = None
    proof: str = ""
    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    preprocess: Preprocess | None = None
    gate: GateReport | None = None
    choice: Choice | None = None
    sha256: str = ""


def inspect(
    model: Model,
    *,
    weights: str | Path | None = None,
    spec: str | Path | SpecFile | ModelSpec | None = None,
) -> Inspection:
    """Return the description of an artifact's folder or of a model.

    `weights` and `spec` belong to a net that edgeseg did not make, as in `edgeseg.convert`.

    Raises:
        ArtifactError, CheckpointError: an artifact or checkpoint that is damaged.
        InputError, UnknownName: no such thing.
    """
    path = Path(model).expanduser() if isinstance(model, (str, Path)) else None
    if path is not None and (path / MANIFEST).is_file():
        return _artifact(path)
    from edgeseg.models import open_model

    return _checkpoint(open_model(model, weights=weights, spec=spec))


def _artifact(path: Path) -> Inspection:
    artifact = open_artifact(path)
    manifest = artifact.manifest
    seen, steps = manifest.calibration, manifest.lineage.steps
    metrics = steps[-1].metrics if steps else {}
    ranges = None
    if manifest.scheme.name == "int8" and seen is not None:
        ranges = RangesAccount(
            count=manifest.report.ops_quantized,
            observer="",
            mode=manifest.scheme.mode,
            images=len(seen.item_ids),
            source=f"{seen.source} {seen.split}",
            float_layers=manifest.scheme.float_layers,
        )
    return Inspection(
        kind="artifact",
        path=path,
        spec=manifest.spec,
        macs=int(metrics["macs"]) if "macs" in metrics else None,
        parameters=int(metrics["parameters"]) if "parameters" in metrics else None,
        pruned=(),
        ranges=ranges,
        lineage=steps,
        licence=manifest.licence,
        notice=manifest.notice,
        format=manifest.format,
        precision=manifest.scheme.name,
        size_bytes=artifact.size_bytes,
        inputs=manifest.inputs,
        outputs=manifest.outputs,
        preprocess=manifest.preprocess,
        gate=manifest.gate,
        choice=manifest.choice,
        sha256=artifact.sha256,
        proof=f"{manifest.proof.level}{', ' if manifest.proof.reason else ''}{manifest.proof.reason}",
    )


def _checkpoint(checkpoint: Checkpoint) -> Inspection:
    from edgeseg.models import cost
    from edgeseg.models.lineage import read_lineage

    path = checkpoint.folder
    price = cost(checkpoint.net, size=checkpoint.spec.size)
    return Inspection(
        kind="checkpoint",
        path=path,
        spec=checkpoint.spec,
        macs=price.macs,
        parameters=price.parameters,
        pruned=_pruned(checkpoint),
        ranges=_ranges(checkpoint),
        lineage=read_lineage(path),
        licence=checkpoint.spec.licence,
        notice=checkpoint.spec.notice,
    )


def _pruned(checkpoint: Checkpoint) -> tuple[PrunedLayer, ...]:
    """Return the convolutions and linear layers with fewer outputs than the architecture's."""
    from edgeseg.models.build import build_unpruned
    from edgeseg.models.layer_kinds import WEIGHTED_LAYERS
    from edgeseg.models.pruned_channels import layer_widths

    spec = checkpoint.spec
    if not spec.channels:
        return ()
    plain = build_unpruned(spec)
    widths = layer_widths(plain)
    return tuple(
        PrunedLayer(name=layer.name, before=widths[layer.name].outputs, after=layer.outputs)
        for layer in spec.channels
        if isinstance(plain.get_submodule(layer.name), WEIGHTED_LAYERS) and widths[layer.name].outputs > layer.outputs
    )


def _ranges(checkpoint: Checkpoint) -> RangesAccount | None:
    path = checkpoint.folder / RANGES_FILE
    if not path.is_file():
        return None
    ranges = read_ranges(path)
    seen = ranges.calibration
    return RangesAccount(
        count=len(ranges.ranges),
        observer=ranges.observer,
        mode=ranges.mode,
        images=len(seen.item_ids),
        source=f"{seen.source} {seen.split}",
        float_layers=ranges.float_layers,
    )
