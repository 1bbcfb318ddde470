"""A checkpoint to the deployment graph that every converter starts from."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from torch.export import ExportedProgram

from edgeseg.core.exported import ExportedModel
from edgeseg.core.quantization import INT8, Precision, QuantizationScheme, Ranges, scheme_named
from edgeseg.core.quantization_rules import DEFAULT_RULES, QuantizationRules
from edgeseg.core.requirements import installed_versions
from edgeseg.core.silence import quiet_loggers
from edgeseg.core.suggestions import unknown
from edgeseg.errors import CheckpointError, InputError, UnsupportedError
from edgeseg.export.exported_folder import write_folder
from edgeseg.export.head import Deployed, DeployedOutput, answer_spec, image_spec, preprocess_of
from edgeseg.graph.batch_norm_folding import fold_batch_norms
from edgeseg.graph.simplify import simplify
from edgeseg.models.build import net_at
from edgeseg.models.checkpoint import Checkpoint, at_size
from edgeseg.pixels import prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from edgeseg.core.protocols import Normalisation
    from edgeseg.core.spec import ModelSpec

_INNER = "net"
"""The plain net's name in the deployment module."""


def export(
    checkpoint: Checkpoint,
    *,
    folder: Path,
    size: tuple[int, int] | None = None,
    precision: Precision,
    output: DeployedOutput = "logits",
    ranges: Ranges | None = None,
    rules: QuantizationRules = DEFAULT_RULES,
    normalisation: Normalisation = "graph",
    calibration: Callable[[], Iterable[NDArray[np.uint8]]] | None = None,
    images: Sequence[NDArray[np.uint8]] = (),
) -> ExportedModel:
    """Return the deployment graph of a checkpoint at `size` (height, width; default: the checkpoint's own).

    Schemes without integer activations return the float graph: the converter stores halves or narrow weights. int8
    needs `ranges` and returns the graph with quantize and dequantize pairs where the backend's `rules` place them;
    a16w8 returns the same graph, and its converter divides the same ranges into finer steps.
    With `normalisation` "host" the graph takes normalised float32 values. `calibration` gives images (H, W, 3) uint8
    BGR of any size, for converters that calibrate themselves. `images`, of the same kind, show how large activations
    get where `rules` avoid saturation; without them the largest possible are assumed. The parts that a converter reads
    from disk are written into `folder` on first use.

    Raises:
        InputError: a size that the architecture does not support, or a quantized precision without ranges.
        CheckpointError: ranges that were observed with other weights.
        UnknownName: a precision that does not exist.
        UnsupportedError: integer activations with weights that are not 8 bits wide.
    """
    scheme = scheme_named(precision)
    if scheme.needs_ranges and ranges is None:
        raise InputError(
            f"{precision} needs activation ranges, and this checkpoint has none. Give --calibration DIR (training "
            "images) or run edgeseg calibrate once."
        )
    if scheme.needs_ranges and scheme.weight_bits != INT8.weight_bits:
        raise UnsupportedError(f"The graph can be quantized to int8 here, not to {precision}. Choose int8.")
    spec = checkpoint.spec if size is None else at_size(checkpoint.spec, size=size)
    deployed = deploy(checkpoint, spec=spec, output=output, normalisation=normalisation)
    float_program = export_program(deployed, spec=spec)
    programs = _Programs(program=float_program, folded=float_program, scheme=scheme)
    if scheme.needs_ranges and ranges is not None:
        tensors = _tensors(images if rules.avoid_saturation == "always" else (), spec=spec, normalisation=normalisation)
        programs = _quantized(float_program, spec=spec, ranges=ranges, rules=rules, images=tensors)
        programs = dataclasses.replace(programs, scheme=_of_width(programs.scheme, wanted=scheme))
    exported = ExportedModel(
        folder=folder,
        spec=spec,
        scheme=programs.scheme,
        input=image_spec(spec, normalisation=normalisation),
        output=answer_spec(spec, output=output),
        preprocess=preprocess_of(spec, normalisation=normalisation),
        versions=installed_versions("torch", "torchao"),
        rules=rules,
        loaded={"program": programs.program, "folded": programs.folded},
    )
    write_folder(exported, deployed, ranges=ranges if scheme.needs_ranges else None, calibration=calibration)
    return exported


def _of_width(made: QuantizationScheme, *, wanted: QuantizationScheme) -> QuantizationScheme:
    """Return the scheme of the int8 graph, by the name and with the activations of a wider one that is wanted."""
    if wanted.activation_bits == made.activation_bits:
        return made
    return dataclasses.replace(made, name=wanted.name, activations=wanted.activations)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Programs:
    program: ExportedProgram
    folded: ExportedProgram
    scheme: QuantizationScheme


def deploy(
    checkpoint: Checkpoint, *, spec: ModelSpec, output: DeployedOutput, normalisation: Normalisation = "graph"
) -> Deployed:
    """Return the float deployment module of the checkpoint's net at the size of `spec`, batch norms folded.

    The net itself is deployed, not a new one of the same architecture; see `edgeseg.models.build.net_at`.
    """
    net = net_at(checkpoint.net, spec=spec, built_for=checkpoint.spec.size)
    plain = fold_batch_norms(net, size=spec.size)
    deployed = Deployed(
        plain, preprocess=spec.preprocess, width=spec.size[1], output=output, normalisation=normalisation
    )
    return deployed.eval()


def check_float_layers(net: nn.Module, layers: tuple[str, ...]) -> None:
    """Raise `UnknownName` for a layer to keep in float that a plain net does not have.

    Paths are those of the deployment module, where the net is called `net`. Whether a layer would compute in int8 at
    all is known only once the graph is exported.
    """
    names = [f"{_INNER}.{name}" for name, _ in net.named_modules() if name]
    for layer in layers:
        if layer not in names:
            raise unknown("layer to keep in float", layer, names)


def export_program(deployed: Deployed, *, spec: ModelSpec) -> ExportedProgram:
    """Return the static graph of a deployment module, from (1, H, W, 3), uint8 or float32 as it takes."""
    import torch

    dtype = torch.float32 if deployed.normalisation == "host" else torch.uint8
    example = torch.zeros((1, *spec.size, 3), dtype=dtype)
    with torch.no_grad():
        return simplify(torch.export.export(deployed, (example,)))


def _tensors(
    images: Sequence[NDArray[np.uint8]], *, spec: ModelSpec, normalisation: Normalisation
) -> tuple[Tensor, ...]:
    import torch

    tensor, preprocess = image_spec(spec, normalisation=normalisation), preprocess_of(spec, normalisation=normalisation)
    return tuple(torch.from_numpy(prepare(image, preprocess=preprocess, tensor=tensor)) for image in images)


def _quantized(
    program: ExportedProgram,
    *,
    spec: ModelSpec,
    ranges: Ranges,
    rules: QuantizationRules,
    images: tuple[Tensor, ...],
) -> _Programs:
    with quiet_loggers("torchao", "torch.utils._pytree"):  # it logs kernels of other machines that do not load
        from edgeseg.export.quantizing import quantize_program

    if ranges.weights_sha256 != spec.weights_sha256:
        raise CheckpointError(
            f"The ranges were observed on weights {ranges.weights_sha256[:12]}..., this checkpoint's are "
            f"{spec.weights_sha256[:12]}... Run edgeseg calibrate again."
        )
    done = quantize_program(program, ranges=ranges.ranges, rules=rules, float_layers=ranges.float_layers, images=images)
    scheme = dataclasses.replace(
        INT8,
        mode=ranges.mode,
        weights=INT8.weights if rules.per_channel_weights else "int8 symmetric per-tensor",
        activations="int8 symmetric per-tensor" if rules.symmetric_activations else INT8.activations,
        float_layers=done.plan.in_float,
    )
    return _Programs(program=done.program, folded=done.folded_program, scheme=scheme)
