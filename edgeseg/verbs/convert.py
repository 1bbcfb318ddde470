"""`edgeseg.convert`: a model to proven artifacts; the work is done in `edgeseg.deploy`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeseg.deploy import convert as deploy
from edgeseg.deploy.convert import ConversionPlan

if TYPE_CHECKING:
    from pathlib import Path

    from edgeseg.core.artifact import Artifact
    from edgeseg.core.progress import Progress
    from edgeseg.core.spec import ModelSpec
    from edgeseg.core.spec_file import SpecFile
    from edgeseg.deploy.convert import OnNotice
    from edgeseg.deploy.plan import RequestedPrecision
    from edgeseg.export import DeployedOutput, RequestedOutput
    from edgeseg.models import Model

__all__ = ["ConversionPlan", "convert", "plan_conversion"]


def plan_conversion(
    model: Model,
    *,
    target: str | tuple[str, ...],
    weights: str | Path | None = None,
    spec: str | Path | SpecFile | ModelSpec | None = None,
    precision: RequestedPrecision = "auto",
    calibration: str | None = None,
    data: str | None = None,
    size: tuple[int, int] | None = None,
    output: DeployedOutput = "logits",
    out: Path | None = None,
    force: bool = False,
    allow_held_out: bool = False,
) -> ConversionPlan:
    """Return what `convert_for_targets` would do with the same arguments, after every check that is quick.

    Raises as `edgeseg.models.open_model` and `edgeseg.deploy.convert.plan_for_targets`.
    """
    from edgeseg.models import open_model
    from edgeseg.models.from_onnx.opening import is_onnx

    return deploy.plan_for_targets(
        open_model(model, weights=weights, spec=spec, size=size if is_onnx(model) else None),
        target=target,
        precision=precision,
        calibration=calibration,
        data=data,
        size=size,
        output=output,
        out=out,
        force=force,
        allow_held_out=allow_held_out,
    )


def convert(
    model: Model,
    *,
    target: str | tuple[str, ...],
    weights: str | Path | None = None,
    spec: str | Path | SpecFile | ModelSpec | None = None,
    precision: RequestedPrecision = "auto",
    calibration: str | None = None,
    data: str | None = None,
    size: tuple[int, int] | None = None,
    output: RequestedOutput = "logits",
    max_drop: float | None = None,
    opset: int | None = None,
    ir_version: int | None = None,
    out: Path | None = None,
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
    `data`, `max_drop`, `opset`, `ir_version` and `on_notice` are those of `edgeseg.deploy.convert.convert_for_targets`.

    Raises as `edgeseg.models.open_model` and `edgeseg.deploy.convert.convert_for_targets`.
    """
    from edgeseg.models import open_model
    from edgeseg.models.from_onnx.opening import is_onnx

    return deploy.convert_for_targets(
        open_model(model, weights=weights, spec=spec, size=size if is_onnx(model) else None),
        target=target,
        precision=precision,
        calibration=calibration,
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
        on_progress=on_progress,
        on_notice=on_notice,
    )
