"""A checkpoint to proven artifacts: plan, check, export, convert, prove, write."""

from __future__ import annotations

import dataclasses
import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgeseg.core.artifact import Artifact, open_artifact
from edgeseg.core.backend import ResolvedBackend
from edgeseg.core.cpu_features import int8_sums_saturate
from edgeseg.core.files import new_folder
from edgeseg.core.placement import require_delegated
from edgeseg.core.progress import Progress, no_progress
from edgeseg.core.protocols import Converter, DescribedConverter, VersionedConverter
from edgeseg.core.quantization import FP32, Ranges, read_ranges, scheme_named
from edgeseg.core.temperature import read_temperature
from edgeseg.core.trust import remember
from edgeseg.deploy.compile import compile_with
from edgeseg.deploy.conversion_checks import check_conversion
from edgeseg.deploy.conversion_plan import ConversionPlan, carried_ranges, plan_for_targets
from edgeseg.deploy.exports import Exports
from edgeseg.deploy.native import native_converter
from edgeseg.deploy.plan import PlannedArtifact, route_to
from edgeseg.deploy.proof_images import PROOF_IMAGES, ProofImages, proof_images
from edgeseg.deploy.usage import USAGE_FILE, usage
from edgeseg.errors import GateError, UnsupportedError
from edgeseg.models import Checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from edgeseg.core.protocols import Converter
    from edgeseg.core.spec import ModelSpec
    from edgeseg.deploy.conversion_request import ConversionRequest
    from edgeseg.deploy.reference import Reference
    from edgeseg.export import DeployedOutput

OnNotice = Callable[[str], None]
"""Called with a message for the user."""

_log = logging.getLogger(__name__)


def convert_for_targets(
    model: str | Path | Checkpoint | None,
    request: ConversionRequest,
    *,
    on_progress: Progress | None = None,
    on_notice: OnNotice | None = None,
) -> tuple[Artifact, ...]:
    """Return the artifacts of a checkpoint for every target of a request, each proven against float PyTorch.

    `on_notice` gets findings about the calibration images, limits of the proof, why a target's accelerator is not used,
    and a warning if the size has another orientation than the net's (default: the log).

    Raises:
        GateError: the calibration images are wrong (leakage, colour order, double normalisation), and the request does
            not ignore findings. Or no candidate is within its `max_drop`, or an artifact does not agree with the
            checkpoint (`edgeseg.deploy.gate`): it is not written, its worst image is (PATH-refused.png), and earlier
            artifacts stay. Or too few ops are on the accelerator.
        ConversionError: a vendor's tool failed.
        Others as `plan_for_targets` does, all before any slow work.
    """
    from edgeseg.models.checkpoint import load_checkpoint

    planned = plan_for_targets(model, request)
    for item in planned.artifacts:
        _converter_of(item, versions=(request.opset, request.ir_version))
    progress, notice = on_progress or no_progress, on_notice or _log.warning
    for remark in filter(None, (planned.warning, *(item.remark for item in planned.artifacts))):
        notice(remark)
    checkpoint = model if isinstance(model, Checkpoint) else load_checkpoint(planned.checkpoint)
    ranges = _ranges(checkpoint, planned, request, progress=progress, notice=notice)
    images = _images_to_prove_on(checkpoint, request, ranges=ranges)
    if images.warning:
        notice(images.warning)
    progress("float reference", 0, 0)
    reference = _reference(checkpoint, planned, images=images)
    made: list[Artifact] = []
    with tempfile.TemporaryDirectory(prefix="edgeseg-") as workdir:
        jobs = {
            head: _Job(
                checkpoint=checkpoint,
                exports=Exports(
                    checkpoint=checkpoint,
                    size=planned.size,
                    output=head,
                    ranges=ranges,
                    calibration=_calibration_images(request, ranges=ranges),
                    images=reference.images,
                    workdir=Path(workdir) / head,
                    progress=progress,
                ),
                ranges=ranges,
                reference=reference,
                progress=progress,
                notice=notice,
                require_delegation=request.require_delegation,
                versions=(request.opset, request.ir_version),
            )
            for head in request.heads
        }
        for index, item in enumerate(planned.artifacts):
            progress("convert", index, len(planned.artifacts))
            if item.candidates:
                made.append(_best(item, jobs, max_drop=request.max_drop))
            else:
                made.append(jobs[planned.output].make(item))
        progress("convert", len(planned.artifacts), len(planned.artifacts))
    return tuple(made)


def _best(item: PlannedArtifact, jobs: dict[DeployedOutput, _Job], *, max_drop: float | None) -> Artifact:
    """Return the artifact of the fastest candidate that loses at most `max_drop`, in the candidate's folder."""
    from edgeseg.deploy.arbiter import Rules, choose

    planned = {(candidate.precision, str(candidate.output)): candidate for candidate in item.candidates}

    def make(precision: str, output: str, folder: Path) -> Artifact:
        candidate = planned[precision, output]
        tried = dataclasses.replace(item, precision=precision, path=folder)
        return jobs[candidate.output].make(tried, shown=candidate.shown)

    rules = Rules(
        precisions=tuple(dict.fromkeys(candidate.precision for candidate in item.candidates)),
        outputs=tuple(dict.fromkeys(candidate.output for candidate in item.candidates)),
        max_drop=max_drop,
    )
    return choose(
        rules,
        make=make,
        reference=jobs[item.candidates[0].output].reference,
        finish=lambda precision, output: planned[precision, output].path,
    )


def _converter_of(item: PlannedArtifact, *, versions: tuple[int | None, int | None]) -> Converter:
    """Return the converter of a planned artifact, for an older runtime if an opset or an IR version is given."""
    opset, ir_version = versions
    converter = route_to(item.format)[0]
    converter = native_converter(converter) if item.calibrator == "native" else converter
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

    def make(self, item: PlannedArtifact, *, shown: Path | None = None) -> Artifact:
        """Convert (and compile), prove and write one artifact; nothing is left behind if a step fails.

        The worst image of a refused one goes beside `shown`, or beside the artifact's path.
        """
        shown = shown or item.path
        compiler = route_to(item.format)[1]
        converter = _converter_of(item, versions=self.versions)
        if compiler is None:
            return self._convert_unsaturated(item, converter, shown=shown)
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
                self._convert(first, converter, shown=shown),
                options=item.compile_options,
                backend=item.backend,
                target=item.target,
                path=item.path,
                require_delegation=self.require_delegation,
                progress=self.progress,
            )

    def _convert_unsaturated(self, item: PlannedArtifact, converter: Converter, *, shown: Path) -> Artifact:
        """Return the artifact; one that is refused because int8 sums saturate is converted again without that."""
        try:
            return self._convert(item, converter, shown=shown, require_delegation=self.require_delegation)
        except GateError as error:
            int8 = scheme_named(item.precision).needs_ranges and item.calibrator != "native"
            if not (int8 and item.rules.avoid_saturation == "if-refused" and int8_sums_saturate()):
                raise
            self.notice(
                f"{error} This CPU has no VNNI: {converter.title} adds int8 products in 16 bits, which overflow. "
                "Converting again, with weight scales that avoid it."
            )
        again = dataclasses.replace(item, rules=dataclasses.replace(item.rules, avoid_saturation="always"))
        made = self._convert(again, converter, shown=shown, require_delegation=self.require_delegation)
        _refused(shown).unlink(missing_ok=True)
        return made

    def _convert(
        self, item: PlannedArtifact, converter: Converter, *, shown: Path, require_delegation: float | None = None
    ) -> Artifact:
        """Return the converted artifact; the worst image of a refused one goes beside `shown`."""
        from edgeseg.deploy.manifest import draft, lineage_of, seal
        from edgeseg.deploy.prove import emulate, prove_here

        native = item.calibrator == "native"
        precision = FP32.name if native else item.precision  # a vendor's quantizer takes the float graph
        rules = item.rules
        if rules.avoid_saturation == "if-refused":
            rules = dataclasses.replace(rules, avoid_saturation="never")
        exported = self.exports.get(converter, precision, rules=rules, normalisation=item.normalisation)
        calibrated = self.ranges if native or exported.scheme.needs_ranges else None
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
                refused=_refused(shown),
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


def _refused(path: Path) -> Path:
    """Return where the worst image of a refused artifact is drawn."""
    return path.with_name(f"{path.name}-refused.png")


def _ranges(
    checkpoint: Checkpoint,
    planned: ConversionPlan,
    request: ConversionRequest,
    *,
    progress: Progress,
    notice: OnNotice,
) -> Ranges | None:
    if not planned.ranges:
        return None
    if request.calibration is None:
        return read_ranges(carried_ranges(planned.checkpoint))
    from edgeseg.export import calibrate_ranges

    done = calibrate_ranges(
        checkpoint,
        request.calibration,
        allow_held_out=request.allow_held_out,
        ignore_findings=request.ignore_findings,
        hold_out=PROOF_IMAGES if request.data is None else 0,
        on_progress=progress,
    )
    for finding in done.findings:
        notice(f"calibration: {finding}")
    return dataclasses.replace(done.ranges, float_layers=_float_layers(checkpoint, planned))


def _float_layers(checkpoint: Checkpoint, planned: ConversionPlan) -> tuple[str, ...]:
    """Return the layers that the checkpoint keeps in float: new ranges do not make 8 bits enough for them."""
    path = carried_ranges(planned.checkpoint)
    carried = read_ranges(path) if path.is_file() else None
    same = carried is not None and carried.weights_sha256 == checkpoint.spec.weights_sha256
    return carried.float_layers if carried is not None and same else ()


def _images_to_prove_on(checkpoint: Checkpoint, request: ConversionRequest, *, ranges: Ranges | None) -> ProofImages:
    from edgeseg.deploy.manifest import lineage_of

    return proof_images(
        data=request.data,
        calibration=request.calibration,
        calibrated_on=None if ranges is None else ranges.calibration,
        trained_on=lineage_of(checkpoint).training_data,
        classes=checkpoint.spec.classes,
        checkpoint=checkpoint.folder,
        allow_held_out=request.allow_held_out,
    )


def _calibration_images(
    request: ConversionRequest, *, ranges: Ranges | None
) -> Callable[[], Iterable[NDArray[np.uint8]]] | None:
    """Return a reader of the calibration images, for converters that calibrate themselves."""
    calibration, allow_held_out = request.calibration, request.allow_held_out
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
