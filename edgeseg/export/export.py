"""A checkpoint to the deployment graph that every converter starts from."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from torch.export import ExportedProgram

from edgeseg.core.exported import ExportedModel
from edgeseg.core.quantization import SCHEMES, Precision, QuantizationScheme, Ranges
from edgeseg.core.silence import hushed
from edgeseg.core.suggestions import unknown
from edgeseg.errors import CheckpointError, InputError
from edgeseg.export.golden import float_answer, golden_image
from edgeseg.export.head import Deployed, Output, answer_spec, check_preprocess, image_spec
from edgeseg.export.onnx_file import write_onnx
from edgeseg.graph.batch_norm_folding import fold_batch_norms
from edgeseg.graph.simplify import simplify
from edgeseg.models import build_spec
from edgeseg.models.checkpoint import Checkpoint, at_size

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from edgeseg.core.spec import ModelSpec

INNER = "net"
"""What the deployment module calls the plain net."""


def export(
    checkpoint: Checkpoint,
    *,
    size: tuple[int, int] | None = None,
    precision: Precision,
    output: Output = "logits",
    ranges: Ranges | None = None,
    workdir: Path,
    onnx: bool = True,
) -> ExportedModel:
    """Return the deployment graph of a checkpoint at `size` (height, width), the checkpoint's own where left out.

    fp16 gives the float graph: storing halves is the converter's work. int8 needs `ranges` and gives the graph with
    quantize and dequantize pairs. The ONNX file is written into `workdir`; `onnx=False` saves its time where no
    converter reads it.

    Raises:
        InputError: a size that the architecture does not take, or int8 without ranges.
        CheckpointError: ranges that were observed with other weights.
        UnsupportedError: the spec says that the host normalises.
    """
    check_preprocess(checkpoint.spec.preprocess)
    if precision == "int8" and ranges is None:
        raise InputError(
            "int8 needs activation ranges and this checkpoint carries none. Give --calibration DIR (training images) "
            "or run edgeseg calibrate once."
        )
    spec = checkpoint.spec if size is None else at_size(checkpoint.spec, size=size)
    deployed = deploy(checkpoint, spec=spec, output=output)
    image = golden_image(spec)
    float_program = export_program(deployed, spec=spec)
    programs = _Programs(program=float_program, folded=float_program, scheme=SCHEMES[precision])
    if precision == "int8" and ranges is not None:
        programs = _quantized(float_program, spec=spec, ranges=ranges)
    workdir.mkdir(parents=True, exist_ok=True)
    exported = ExportedModel(
        spec=spec,
        scheme=programs.scheme,
        input=image_spec(spec),
        output=answer_spec(spec, output=output),
        program=programs.program,
        folded_program=programs.folded,
        onnx=workdir / f"{spec.architecture}-{precision}.onnx",
        golden_image=image,
        golden_output=float_answer(deployed, image),
    )
    if onnx:
        write_onnx(programs.folded, exported.onnx, image=exported.input, answer=exported.output)
    return exported


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Programs:
    program: ExportedProgram
    folded: ExportedProgram
    scheme: QuantizationScheme


def deploy(checkpoint: Checkpoint, *, spec: ModelSpec, output: Output) -> Deployed:
    """Return the float deployment module of the checkpoint's weights at the size of `spec`, batch norms folded."""
    net = build_spec(spec)
    net.load_state_dict(checkpoint.net.state_dict())
    plain = fold_batch_norms(net, size=spec.size)
    deployed = Deployed(plain, preprocess=spec.preprocess, width=spec.size[1], output=output)
    return deployed.eval()


def check_float_layers(net: nn.Module, layers: tuple[str, ...]) -> None:
    """Raise `UnknownName` for a layer to keep in float that a plain net does not have.

    Paths are those of the deployment module, where the net is called `net`. Whether something of a layer would compute
    in int8 at all is known only once the graph is exported.
    """
    names = [f"{INNER}.{name}" for name, _ in net.named_modules() if name]
    for layer in layers:
        if layer not in names:
            raise unknown("layer to keep in float", layer, names)


def export_program(deployed: Deployed, *, spec: ModelSpec) -> ExportedProgram:
    """Return the static graph of a deployment module, from (1, H, W, 3) uint8."""
    import torch

    example = torch.zeros((1, *spec.size, 3), dtype=torch.uint8)
    with torch.no_grad():
        return simplify(torch.export.export(deployed, (example,)))


def _quantized(program: ExportedProgram, *, spec: ModelSpec, ranges: Ranges) -> _Programs:
    with hushed("torchao", "torch.utils._pytree"):  # it looks for kernels of other machines, and says so
        from edgeseg.export.quantizing import quantize

    if ranges.weights_sha256 != spec.weights_sha256:
        raise CheckpointError(
            f"The ranges were observed on weights {ranges.weights_sha256[:12]}..., this checkpoint's are "
            f"{spec.weights_sha256[:12]}... Run edgeseg calibrate again."
        )
    done = quantize(program, ranges=ranges.ranges, float_layers=ranges.float_layers)
    scheme = dataclasses.replace(SCHEMES["int8"], mode=ranges.mode, float_layers=done.plan.in_float)
    return _Programs(program=done.program, folded=done.folded_program, scheme=scheme)
