"""`edgeseg.convert`: a model to proven artifacts; the work is done in `edgeseg.deploy`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeseg.deploy.conversion_plan import ConversionPlan, plan_for_targets
from edgeseg.deploy.conversion_request import ConversionRequest
from edgeseg.deploy.convert import convert_for_targets

if TYPE_CHECKING:
    from pathlib import Path

    from edgeseg.core.artifact import Artifact
    from edgeseg.core.progress import Progress
    from edgeseg.core.quantization import Calibrator
    from edgeseg.core.spec import ModelSpec
    from edgeseg.core.spec_file import SpecFile
    from edgeseg.deploy.convert import OnNotice
    from edgeseg.deploy.plan import RequestedPrecision
    from edgeseg.export import RequestedOutput
    from edgeseg.models import Checkpoint, Model

__all__ = ["ConversionPlan", "ConversionRequest", "convert", "convert_as_requested", "plan_conversion"]


def plan_conversion(
    model: Model,
    request: ConversionRequest,
    *,
    weights: str | Path | None = None,
    spec: str | Path | SpecFile | ModelSpec | None = None,
) -> ConversionPlan:
    """Return what `convert_as_requested` would do with the same arguments, after every check that is quick.

    Raises as `edgeseg.models.open_model` and `edgeseg.deploy.conversion_plan.plan_for_targets`.
    """
    return plan_for_targets(_opened(model, request, weights=weights, spec=spec), request)


def convert_as_requested(
    model: Model,
    request: ConversionRequest,
    *,
    weights: str | Path | None = None,
    spec: str | Path | SpecFile | ModelSpec | None = None,
    on_progress: Progress | None = None,
    on_notice: OnNotice | None = None,
) -> tuple[Artifact, ...]:
    """Return the artifacts of a model for every target of a request; `convert` says what each argument means."""
    opened = _opened(model, request, weights=weights, spec=spec)
    return convert_for_targets(opened, request, on_progress=on_progress, on_notice=on_notice)


def convert(
    model: Model,
    *,
    target: str | tuple[str, ...],
    weights: str | Path | None = None,
    spec: str | Path | SpecFile | ModelSpec | None = None,
    precision: RequestedPrecision = "auto",
    calibration: str | None = None,
    calibrator: Calibrator = "edgeseg",
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
    """Return the artifacts of a model for one or more targets, each proven against float PyTorch.

    `model` is a bundled name, a checkpoint folder, a float ONNX file, `package.module:factory`, an `nn.Module`, or None
    for the bundled default. A net that edgeseg did not make needs a `spec` (a spec.toml), and `weights` if it is built
    without.
    `target` is a format, a device or a `./board.toml`. "auto" takes a device's first precision, and int8 for a bare
    format if ranges are available, else fp32. int8 ranges come from `calibration` (a folder of training images or
    `streets[:count[:seed]]`; val and test images only with `allow_held_out`) or from the checkpoint's own ranges.json.
    The other arguments are those of `edgeseg.deploy.conversion_request.ConversionRequest`; `on_notice` gets findings
    about the calibration images and limits of the proof (default: the log).

    Raises as `edgeseg.models.open_model` and `edgeseg.deploy.convert.convert_for_targets`.
    """
    request = ConversionRequest(
        target=target,
        precision=precision,
        calibration=calibration,
        calibrator=calibrator,
        data=data,
        size=size,
        output=output,
        max_drop=max_drop,
        opset=opset,
        ir_version=ir_version,
        out=out,
        force=force,
        allow_held_out=allow_held_out,
        ignore_findings=ignore_findings,
        require_delegation=require_delegation,
    )
    return convert_as_requested(
        model, request, weights=weights, spec=spec, on_progress=on_progress, on_notice=on_notice
    )


def _opened(
    model: Model,
    request: ConversionRequest,
    *,
    weights: str | Path | None,
    spec: str | Path | SpecFile | ModelSpec | None,
) -> Checkpoint:
    from edgeseg.models import open_model
    from edgeseg.models.from_onnx.opening import is_onnx

    return open_model(model, weights=weights, spec=spec, size=request.size if is_onnx(model) else None)
