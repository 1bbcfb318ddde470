"""A float graph and ranges to an int8 graph, by torchao's PT2E with a quantizer of our own."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node
from torchao.quantization.pt2e import ObserverBase, PerChannelMinMaxObserver
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
from torchao.quantization.pt2e.quantizer import (
    QuantizationAnnotation,
    QuantizationSpec,
    Quantizer,
    SharedQuantizationSpec,
)

from edgeseg.core.quantization import Range
from edgeseg.errors import CheckpointError
from edgeseg.export.points import Plan, plan

Q_ANNOTATION = "quantization_annotation"
# Smaller scales would underflow the engines' fixed-point multipliers.
SMALLEST_SCALE = 1e-8


class FromRange(ObserverBase):
    """An observer that knows its range beforehand and lets values pass."""

    def __init__(self, *, dtype: torch.dtype, low: float, high: float, **_: object) -> None:
        super().__init__(dtype=dtype, is_dynamic=False)
        self.scale, self.zero_point = affine(low, high)
        self.quant_min, self.quant_max = -128, 127
        self.qscheme = torch.per_tensor_affine

    def forward(self, x: Tensor) -> Tensor:
        return x

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:
        return torch.tensor([self.scale]), torch.tensor([self.zero_point])


def affine(low: float, high: float) -> tuple[float, int]:
    """Return the int8 (scale, zero point) of a range that is widened to hold zero; scale is a float32 value."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max((high - low) / 255.0, SMALLEST_SCALE)
    zero_point = min(127, max(-128, round(-128.0 - low / scale)))
    return float(torch.tensor(scale, dtype=torch.float32)), int(zero_point)


class PlannedQuantizer(Quantizer):
    """Annotates a graph after `plan`: outputs of its points with the given ranges, weights per output channel."""

    def __init__(self, ranges: tuple[Range, ...]) -> None:
        super().__init__()
        self._ranges = {item.name: item for item in ranges}

    def annotate(self, model: GraphModule) -> GraphModule:
        """Return the model with a quantization annotation on every node that the plan names."""
        found = plan(model)
        outputs: dict[Node, QuantizationSpec | SharedQuantizationSpec] = {}
        for point in found.points:
            first, *others = point.nodes
            outputs[first] = _activation_spec(self._ranges[point.name])
            outputs.update((node, SharedQuantizationSpec(first)) for node in others)
        for node in {*outputs, *found.weighted}:
            node.meta[Q_ANNOTATION] = QuantizationAnnotation(
                input_qspec_map={node.args[1]: WEIGHT_SPEC} if node in found.weighted else {},
                output_qspec=outputs.get(node),
                _annotated=True,
            )
        return model

    def validate(self, model: GraphModule) -> None:
        """Accept any plan: `quantize` has checked the ranges against it."""


WEIGHT_SPEC = QuantizationSpec(
    dtype=torch.int8,
    observer_or_fake_quant_ctr=PerChannelMinMaxObserver,
    quant_min=-127,
    quant_max=127,
    qscheme=torch.per_channel_symmetric,
    ch_axis=0,
)


def _activation_spec(item: Range) -> QuantizationSpec:
    return QuantizationSpec(
        dtype=torch.int8,
        observer_or_fake_quant_ctr=FromRange.with_args(low=item.low, high=item.high),
        quant_min=-128,
        quant_max=127,
        qscheme=torch.per_tensor_affine,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizedPrograms:
    """The int8 graph: with float weights behind their own pairs (`program`), and with weights stored as int8."""

    program: ExportedProgram
    folded_program: ExportedProgram
    plan: Plan


def quantize(program: ExportedProgram, *, ranges: tuple[Range, ...]) -> QuantizedPrograms:
    """Return the int8 graphs of a float program from the ranges of its points.

    Raises:
        CheckpointError: ranges and graph do not name the same points: they were observed on another net.
    """
    found = plan(program.module())
    check_ranges(found, ranges)
    unfolded, folded = (_converted(program, ranges=ranges, fold=fold) for fold in (False, True))
    return QuantizedPrograms(program=unfolded, folded_program=folded, plan=found)


def check_ranges(found: Plan, ranges: tuple[Range, ...]) -> None:
    """Raise `CheckpointError` unless the ranges are those of the plan's points."""
    wanted, given = {point.name for point in found.points}, {item.name for item in ranges}
    if wanted == given:
        return
    faults = []
    if missing := sorted(wanted - given):
        faults.append(f"{len(missing)} of {len(wanted)} points of this net are missing, first {missing[0]}")
    if extra := sorted(given - wanted):
        faults.append(f"{len(extra)} are of no point here, first {extra[0]}")
    raise CheckpointError(f"Ranges do not fit this net: {'; '.join(faults)}. Run edgeseg calibrate again.")


def _converted(program: ExportedProgram, *, ranges: tuple[Range, ...], fold: bool) -> ExportedProgram:
    arguments, _ = program.example_inputs
    with torch.no_grad():
        prepared = prepare_pt2e(program.module(), PlannedQuantizer(ranges))
        prepared(*arguments)  # the weights' own observers look at them once; activations come from the ranges
        return torch.export.export(convert_pt2e(prepared, fold_quantize=fold), arguments)
