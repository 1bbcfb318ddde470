"""What a conversion would do, after every check that is quick: `plan_for_targets`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.core.quantization import RANGES_FILE, scheme_named
from edgeseg.core.spec import orientation_warning
from edgeseg.deploy.native import check_calibrator, native_converter, planned_for
from edgeseg.deploy.plan import PlannedArtifact, PlannedCandidate, plan_artifacts, route_to
from edgeseg.deploy.proof_images import check_data
from edgeseg.deploy.replacing import distinct_name, refuse_replacing
from edgeseg.errors import InputError
from edgeseg.export import DeployedOutput
from edgeseg.models import Checkpoint

if TYPE_CHECKING:
    from edgeseg.deploy.conversion_request import ConversionRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionPlan:
    """What `convert_for_targets` would do: checkpoint, input size, ranges and artifacts.

    `warning` is a line about the size, empty if there is nothing to warn of.
    """

    model: str
    checkpoint: Path
    size: tuple[int, int]
    output: DeployedOutput
    ranges: str
    artifacts: tuple[PlannedArtifact, ...]
    licence: str
    notice: str
    warning: str = ""


def plan_for_targets(model: str | Path | Checkpoint | None, request: ConversionRequest) -> ConversionPlan:
    """Return what `convert_for_targets` would do for the same request, after every quick check.

    Raises:
        UnknownName, InputError, RecipeError: a target, model, size, destination or calibration that cannot be used;
            a quantized precision without ranges.
        MissingDependency, UnsupportedError: a converter that cannot work here, or a precision that it does not have.
        CheckpointError: an inconsistent checkpoint.
    """
    from edgeseg.models.build import check_size, size_multiple
    from edgeseg.models.checkpoint import at_size, read_spec, resolve_model
    from edgeseg.models.factory import is_factory

    request = check_calibrator(request)
    out = None if request.out is None else Path(request.out)
    size, output = request.size, request.heads[0]
    plan_artifacts(request.targets, precision=request.precision, has_ranges=False, model="", out=out)
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
    ranges = _ranges_source(folder, request)
    if request.data is not None:
        check_data(request.data)
    name = distinct_name(spec, own_size=own_size, output=output)
    artifacts = plan_artifacts(
        request.targets,
        precision=request.precision,
        has_ranges=bool(ranges),
        model=name,
        out=out,
        searched=request.searches,
    )
    fixed = out is not None and len(artifacts) == 1
    artifacts = tuple(planned_for(item, request, fixed=fixed) for item in artifacts)
    _check(artifacts, ranges=ranges)
    if not any(scheme_named(item.precision).needs_ranges for item in artifacts):
        ranges = ""
    if request.searches:
        names = {head: distinct_name(spec, own_size=own_size, output=head) for head in request.heads}
        artifacts = tuple(
            _with_candidates(item, request, names=names, fixed=fixed, has_ranges=bool(ranges)) for item in artifacts
        )
    for item in artifacts:
        refuse_replacing(item, spec=spec, output=output, force=request.force)
    return ConversionPlan(
        model=spec.name,
        checkpoint=folder,
        size=spec.size,
        output=output,
        ranges=ranges,
        artifacts=artifacts,
        licence=spec.licence,
        notice=spec.notice,
        warning="" if size is None else orientation_warning(size, own=own_size),
    )


def _with_candidates(
    item: PlannedArtifact,
    request: ConversionRequest,
    *,
    names: dict[DeployedOutput, str],
    fixed: bool,
    has_ranges: bool,
) -> PlannedArtifact:
    """Return the planned artifact with what is tried; unless `fixed`, each folder is named as if it was asked for."""
    from edgeseg.deploy.arbiter import usable

    precisions = route_to(item.format)[0].precisions if request.precision == "auto" else (request.precision,)
    candidates = []
    for precision in usable(precisions, has_ranges=has_ranges):
        for head, name in names.items():
            path = item.path if fixed else item.path.with_name(f"{name}-{item.format}-{precision}{item.suffix}")
            shown = path.parent / f"{path.name}-{precision}-{head}" if fixed else path
            candidates.append(PlannedCandidate(precision=precision, output=head, path=path, shown=shown))
    return dataclasses.replace(item, candidates=tuple(candidates))


def _check(artifacts: tuple[PlannedArtifact, ...], *, ranges: str) -> None:
    for name, calibrator in dict.fromkeys((item.format, item.calibrator) for item in artifacts):
        converter, compiler = route_to(name)
        converter = native_converter(converter, compiler) if calibrator == "native" else converter
        converter.check()
        if compiler is not None:
            compiler.check()
    for item in artifacts:
        if scheme_named(item.precision).needs_ranges and not ranges:
            raise InputError(
                f"{item.target}: {item.precision} needs activation ranges, and this checkpoint has none. Give "
                "training images (--calibration DIR, or streets:64), or choose --precision fp32."
            )


def _ranges_source(folder: Path, request: ConversionRequest) -> str:
    """Return a description of where ranges come from, empty if there are none."""
    if request.calibration is not None:
        from edgeseg.calibration import open_source

        open_source(request.calibration, allow_held_out=request.allow_held_out)
        return f"observed on {request.calibration}"
    path = carried_ranges(folder)
    return f"carried by the checkpoint ({RANGES_FILE})" if path.is_file() else ""


def carried_ranges(folder: Path) -> Path:
    """Return where the ranges of a checkpoint are, if it has any."""
    return (folder if folder.is_dir() else folder.parent) / RANGES_FILE
