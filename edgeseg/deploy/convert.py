"""A checkpoint to proven artifacts: plan, check, export, convert, prove, write."""

from __future__ import annotations

import dataclasses
import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from edgeseg.core.artifact import Artifact, open_artifact
from edgeseg.core.backend import ResolvedBackend
from edgeseg.core.files import new_folder
from edgeseg.core.progress import Progress, no_progress
from edgeseg.core.protocols import Converter, DescribedConverter, VersionedConverter
from edgeseg.core.quantization import RANGES_FILE, Ranges, read_ranges, scheme_named
from edgeseg.core.temperature import read_temperature
from edgeseg.core.trust import remember
from edgeseg.deploy.compile import compile_with
from edgeseg.deploy.conversion_checks import check_conversion, require_delegated
from edgeseg.deploy.exports import Exports
from edgeseg.deploy.plan import PlannedArtifact, RequestedPrecision, plan_artifacts, route_to
from edgeseg.deploy.proof_images import PROOF_IMAGES, ProofImages, check_data, proof_images
from edgeseg.deploy.replacing import distinct_name, refuse_replacing
from edgeseg.deploy.usage import USAGE_FILE, usage
from edgeseg.errors import InputError, UnsupportedError
from edgeseg.export import DeployedOutput, RequestedOutput
from edgeseg.models import Checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from edgeseg.core.protocols import Converter
    from edgeseg.core.spec import ModelSpec
    from edgeseg.deploy.reference import Reference

OnNotice = Callable[[str], None]
"""Called with a message for the user."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionPlan:
    """What `convert_for_targets` would do: checkpoint, input size, ranges and artifacts."""

    model: str
    checkpoint: Path
    size: tuple[int, int]
    output: DeployedOutput
    ranges: str
    artifacts: tuple[PlannedArtifact, ...]
    licence: str
    notice: str


def plan_for_targets(
    model: str | Path | Checkpoint | None,
    *,
    target: str | tuple[str, ...],
    precision: RequestedPrecision = "auto",
    calibration: str | None = None,
    data: str | None = None,
    size: tuple[int, int] | None = None,
    output: DeployedOutput = "logits",
    out: Path | str | None = None,
    force: bool = False,
    allow_held_out: bool = False,
) -> ConversionPlan:
    """Return what `convert_for_targets` would do with the same arguments, after every quick check.

    Raises:
        UnknownName, InputError, RecipeError: a target, model, size, destination or calibration that cannot be used;
            a quantized precision without ranges.
        MissingDependency, UnsupportedError: a converter that cannot work here, or a precision that it does not have.
        CheckpointError: an inconsistent checkpoint.
    """
    from edgeseg.models.build import check_size, size_multiple
    from edgeseg.models.checkpoint import at_size, read_spec, resolve_model
    from edgeseg.models.factory import is_factory

    texts = (target,) if isinstance(target, str) else target
    out = None if out is None else Path(out)
    plan_artifacts(texts, precision=precision, has_ranges=False, model="", out=out)
    if isinstance(model, Checkpoint):
        folder, spec = model.folder, model.spec
    else:
        folder = resolve_model(None if model is None else str(model))
        spec = read_spec(folder)
    own_size = spec.size
    if size is not None:
        multiple = spec.output_stride if is_factory(spec.architecture) else size_multiple(spec)
        check_size(size, multiple=multiple, name=spec.architecture)
        spec = at_size(spec, size=size)
    ranges = _ranges_source(folder, calibration=calibration, allow_held_out=allow_held_out)
    if data is not None:
        check_data(data)
    name = distinct_name(spec, own_size=own_size, output=output)
    artifacts = plan_artifacts(texts, precision=precision, has_ranges=bool(ranges), model=name, out=out)
    _check(artifacts, ranges=ranges)
    for item in artifacts:
        refuse_replacing(item, spec=spec, output=output, force=force)
    return ConversionPlan(
        model=spec.name,
        checkpoint=folder,
        size=spec.size,
        output=output,
        ranges=ranges if any(scheme_named(item.precision).needs_ranges for item in artifacts) else "",
        artifacts=artifacts,
        licence=spec.licence,
        notice=spec.notice,
    )


def convert_for_targets(
    model: str | Path | Checkpoint | None,
    *,
    target: str | tuple[str, ...],
    precision: RequestedPrecision = "auto",
    calibration: str | None = None,
    data: str | None = None,
    size: tuple[int, int] | None = None,
    output: RequestedOutput = "logits",
    max_drop: float | None = None,
    opset: int | None = None,
    ir_version: int | None = None,
    out: Path | str | None = None,
    force: bool = False,
    allow_held_out: bool = False,
    ignore_findings: bool = False,
    require_delegation: float | None = None,
    on_progress: Progress | None = None,
    on_notice: OnNotice | None = None,
) -> tuple[Artifact, ...]:
    """Return the artifacts of a checkpoint for one or more targets, each proven against float PyTorch.

    `target` is a format, a device or a `./board.toml`; for a device whose chip needs a compiler, the file is
    compiled too. `require_delegation` is the least share, in percent, of ops on the accelerator. With `max_drop` (a
    fraction of mIoU, or of labels without ground truth), every precision of "auto" is converted, timed and
    compared, and the fastest that loses no more is kept; with `output` "auto" every head too
    (`edgeseg.deploy.arbiter`). Otherwise precision "auto" takes a device's first precision, and int8 for a bare
    format if ranges are available, else fp32. int8 ranges come from `calibration` (a folder of training images or
    `streets[:count[:seed]]`; val and test images only with `allow_held_out`) or from the checkpoint's own
    ranges.json. `opset` and `ir_version` write ONNX for older runtimes.

    The proof uses images of `data` (and labels, if it is a data set of the net's classes), else calibration images that
    were left out of the calibration, else the checkpoint's own (folder `proof`), else rendered streets. `on_notice`
    gets findings about the calibration images and limits of the proof (default: the log).

    Raises:
        GateError: the calibration images are wrong (leakage, colour order, double normalisation; `ignore_findings`
            takes them all the same). Or no candidate is within `max_drop`, or an artifact does not agree with the
            checkpoint (`edgeseg.deploy.gate`): it is not written, its worst image is (PATH-refused.png), and earlier
            artifacts stay. Or too few ops are on the accelerator.
        ConversionError: a vendor's tool failed.
        Others as `plan_for_targets` does, all before any slow work.
    """
    from edgeseg.models.checkpoint import load_checkpoint

    heads: tuple[DeployedOutput, ...] = ("logits", "full", "labels") if output == "auto" else (output,)
    planned = plan_for_targets(
        model,
        target=target,
        precision=precision,
        calibration=calibration,
        data=data,
        size=size,
        output=heads[0],
        out=out,
        force=force,
        allow_held_out=allow_held_out,
    )
    for item in planned.artifacts:
        _converter_at(route_to(item.format)[0], versions=(opset, ir_version))
    progress, notice = on_progress or no_progress, on_notice or _log.warning
    checkpoint = model if isinstance(model, Checkpoint) else load_checkpoint(planned.checkpoint)
    ranges = _ranges(
        checkpoint,
        planned,
        calibration=calibration,
        allow_held_out=allow_held_out,
        ignore_findings=ignore_findings,
        progress=progress,
        notice=notice,
    )
    images = _images_to_prove_on(
        checkpoint, data=data, calibration=calibration, ranges=ranges, allow_held_out=allow_held_out
    )
    if images.warning:
        notice(images.warning)
    progress("float reference", 0, 0)
    reference = _reference(checkpoint, planned, images=images)
    made: list[Artifact] = []
    with tempfile.TemporaryDirectory(prefix="edgeseg-") as workdir:
        exports = {
            head: Exports(
                checkpoint=checkpoint,
                size=planned.size,
                output=head,
                ranges=ranges,
                calibration=_calibration_images(calibration, ranges=ranges, allow_held_out=allow_held_out),
                workdir=Path(workdir) / head,
                progress=progress,
            )
            for head in heads
        }
        jobs = {
            head: _Job(
                checkpoint=checkpoint,
                exports=exports[head],
                ranges=ranges,
                reference=reference,
                progress=progress,
                notice=notice,
                require_delegation=require_delegation,
                versions=(opset, ir_version),
            )
            for head in heads
        }
        for index, item in enumerate(planned.artifacts):
            progress("convert", index, len(planned.artifacts))
            if output != "auto" and max_drop is None:
                made.append(jobs[output].make(item))
            else:
                precisions = (precision,) if precision != "auto" else route_to(item.format)[0].precisions
                fixed = out is not None and len(planned.artifacts) == 1
                made.append(_best(item, jobs, precisions=precisions, max_drop=max_drop, fixed=fixed))
        progress("convert", len(planned.artifacts), len(planned.artifacts))
    return tuple(made)


def _best(
    item: PlannedArtifact,
    jobs: dict[DeployedOutput, _Job],
    *,
    precisions: tuple[str, ...],
    max_drop: float | None,
    fixed: bool,
) -> Artifact:
    """Return the artifact of the fastest precision and head that loses at most `max_drop`.

    Unless `fixed`, its folder is named after them, as if they had been asked for.
    """
    from edgeseg.deploy.arbiter import Rules, choose, usable

    first = next(iter(jobs.values()))

    def make(precision: str, output: str, folder: Path) -> Artifact:
        candidate = dataclasses.replace(item, precision=precision, path=folder)
        return jobs[cast("DeployedOutput", output)].make(candidate)

    def finish(precision: str, output: str) -> Path:
        checkpoint = first.checkpoint.spec
        named = distinct_name(first.reference.spec, own_size=checkpoint.size, output=output)
        return item.path if fixed else item.path.with_name(f"{named}-{item.format}-{precision}")

    rules = Rules(
        precisions=usable(precisions, has_ranges=first.ranges is not None), outputs=tuple(jobs), max_drop=max_drop
    )
    return choose(rules, make=make, reference=first.reference, finish=finish)


def _converter_at(converter: Converter, *, versions: tuple[int | None, int | None]) -> Converter:
    """Return a converter for an older runtime, if an opset or an IR version is given."""
    opset, ir_version = versions
    if opset is None and ir_version is None:
        return converter
    if not isinstance(converter, VersionedConverter):
        raise UnsupportedError(f"{converter.title} has no opset or IR version to choose; ONNX has.")
    return converter.at_versions(opset=opset, ir_version=ir_version)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """The shared inputs of all artifacts of one run."""

    checkpoint: Checkpoint
    exports: Exports
    ranges: Ranges | None
    reference: Reference
    require_delegation: float | None
    progress: Progress
    notice: OnNotice
    versions: tuple[int | None, int | None]

    def make(self, item: PlannedArtifact) -> Artifact:
        """Convert (and compile), prove and write one artifact; nothing is left behind if a step fails."""
        converter, compiler = route_to(item.format)
        converter = _converter_at(converter, versions=self.versions)
        if compiler is None:
            return self._convert(item, converter, shown=item.path, require_delegation=self.require_delegation)
        with tempfile.TemporaryDirectory(prefix="edgeseg-") as folder:
            engine = converter.engines[0] if converter.engines else ""
            first = dataclasses.replace(
                item,
                format=converter.format,
                backend=ResolvedBackend(engine=engine),
                path=Path(folder) / item.path.name,
            )
            return compile_with(
                compiler,
                self._convert(first, converter, shown=item.path),
                options=item.compile_options,
                backend=item.backend,
                target=item.target,
                path=item.path,
                require_delegation=self.require_delegation,
                progress=self.progress,
            )

    def _convert(
        self, item: PlannedArtifact, converter: Converter, *, shown: Path, require_delegation: float | None = None
    ) -> Artifact:
        """Return the converted artifact; the worst image of a refused one goes beside `shown`."""
        from edgeseg.deploy.manifest import draft, lineage_of, seal
        from edgeseg.deploy.prove import emulate, prove_here

        exported = self.exports.get(converter, item.precision, rules=item.rules, normalisation=item.normalisation)
        calibrated = self.ranges if self.ranges is not None and exported.scheme.needs_ranges else None
        weights_sha256 = self.checkpoint.spec.weights_sha256
        with new_folder(item.path) as folder:
            self.progress(f"write {converter.title} {item.precision}", 0, 0)
            conversion = converter.convert(exported, folder=folder)
            check_conversion(conversion, folder=folder, name=item.format)
            require_delegated(conversion.ops, percent=require_delegation, name=converter.title)
            first = draft(
                item,
                conversion,
                spec=exported.spec,
                lineage=lineage_of(self.checkpoint),
                calibration=None if calibrated is None else calibrated.calibration,
                temperature=read_temperature(self.checkpoint.folder, weights_sha256=weights_sha256),
                macs=self.reference.macs,
            )
            self.progress(f"prove {converter.title} {item.precision}", 0, 0)
            proven = prove_here(
                Artifact(folder=folder, manifest=first),
                conversion,
                reference=self.reference,
                refused=shown.with_name(f"{shown.name}-refused.png"),
                arithmetic=emulate(exported, reference=self.reference, name=first.name),
            )
            if proven.proof.level == "none":
                self.notice(f"{first.name}: not proven: {proven.proof.reason}. Verify it on the device.")
            if isinstance(converter, DescribedConverter):
                described = dataclasses.replace(first, golden=proven.golden, proof=proven.proof)
                text = usage(described, snippet=converter.usage)
                (folder / USAGE_FILE).write_text(text, encoding="utf-8")
            seal(first, proven=proven, folder=folder)
        artifact = open_artifact(item.path)
        remember(artifact, how="made")
        return artifact


def _check(artifacts: tuple[PlannedArtifact, ...], *, ranges: str) -> None:
    for name in dict.fromkeys(item.format for item in artifacts):
        converter, compiler = route_to(name)
        converter.check()
        if compiler is not None:
            compiler.check()
    for item in artifacts:
        if scheme_named(item.precision).needs_ranges and not ranges:
            raise InputError(
                f"{item.target}: {item.precision} needs activation ranges, and this checkpoint has none. Give "
                "training images (--calibration DIR, or streets:64), or choose --precision fp32."
            )


def _ranges_source(folder: Path, *, calibration: str | None, allow_held_out: bool) -> str:
    """Return a description of where ranges come from, empty if there are none."""
    if calibration is not None:
        from edgeseg.calibration import open_source

        open_source(calibration, allow_held_out=allow_held_out)
        return f"observed on {calibration}"
    path = _carried(folder)
    return f"carried by the checkpoint ({RANGES_FILE})" if path.is_file() else ""


def _carried(folder: Path) -> Path:
    return (folder if folder.is_dir() else folder.parent) / RANGES_FILE


def _ranges(
    checkpoint: Checkpoint,
    planned: ConversionPlan,
    *,
    calibration: str | None,
    allow_held_out: bool,
    ignore_findings: bool,
    progress: Progress,
    notice: OnNotice,
) -> Ranges | None:
    if not planned.ranges:
        return None
    if calibration is None:
        return read_ranges(_carried(planned.checkpoint))
    from edgeseg.export import calibrate_ranges

    done = calibrate_ranges(
        checkpoint,
        calibration,
        allow_held_out=allow_held_out,
        ignore_findings=ignore_findings,
        hold_out=PROOF_IMAGES,
        on_progress=progress,
    )
    for finding in done.findings:
        notice(f"calibration: {finding}")
    return dataclasses.replace(done.ranges, float_layers=_float_layers(checkpoint, planned))


def _float_layers(checkpoint: Checkpoint, planned: ConversionPlan) -> tuple[str, ...]:
    """Return the layers that the checkpoint keeps in float: new ranges do not make 8 bits enough for them."""
    path = _carried(planned.checkpoint)
    carried = read_ranges(path) if path.is_file() else None
    same = carried is not None and carried.weights_sha256 == checkpoint.spec.weights_sha256
    return carried.float_layers if carried is not None and same else ()


def _images_to_prove_on(
    checkpoint: Checkpoint, *, data: str | None, calibration: str | None, ranges: Ranges | None, allow_held_out: bool
) -> ProofImages:
    from edgeseg.deploy.manifest import lineage_of

    return proof_images(
        data=data,
        calibration=calibration,
        calibrated_on=None if ranges is None else ranges.calibration,
        trained_on=lineage_of(checkpoint).training_data,
        classes=checkpoint.spec.classes,
        checkpoint=checkpoint.folder,
        allow_held_out=allow_held_out,
    )


def _calibration_images(
    calibration: str | None, *, ranges: Ranges | None, allow_held_out: bool
) -> Callable[[], Iterable[NDArray[np.uint8]]] | None:
    """Return a reader of the calibration images, for converters that calibrate themselves."""
    if calibration is None or ranges is None:
        return None
    chosen = frozenset(ranges.calibration.item_ids)

    def images() -> Iterator[NDArray[np.uint8]]:
        from edgeseg.calibration import open_source

        source = open_source(calibration, allow_held_out=allow_held_out)
        wanted = (index for index in range(len(source)) if source.item_id(index) in chosen)
        yield from (np.asarray(source.load_image(index), np.uint8) for index in wanted)

    return images


def _reference(checkpoint: Checkpoint, planned: ConversionPlan, *, images: ProofImages) -> Reference:
    from edgeseg.deploy.reference import make_reference
    from edgeseg.models.checkpoint import at_size

    spec: ModelSpec = at_size(checkpoint.spec, size=planned.size)
    return make_reference(checkpoint, spec=spec, images=images)
