"""A float graph and ranges to an int8 graph, by torchao's PT2E with a quantizer of our own."""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import Any

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

from edgeseg.core.names import unknown
from edgeseg.core.quantization import Range
from edgeseg.errors import CheckpointError
from edgeseg.export.points import Plan, fused_output, is_below, plan

Q_ANNOTATION = "quantization_annotation"
# Smaller scales would underflow the engines' fixed-point multipliers.
SMALLEST_SCALE = 1e-8
# A convolution multiplies its int32 sums by input scale * weight scale / output scale. XNNPACK takes factors from 2^-32
# to below 2^8 (and LiteRT 2.3 corrupts its memory where one is outside), and the bias must fit in an int32.
LEAST_FACTOR, LARGEST_FACTOR, LARGEST_BIAS = 2.0**-28, 2.0**7, 2.0**30


class FromRange(ObserverBase):
    """An observer that knows its range beforehand and lets values pass."""

    def __init__(self, *, dtype: torch.dtype, low: float, high: float, least_scale: float, **_: object) -> None:
        super().__init__(dtype=dtype, is_dynamic=False)
        self.scale, self.zero_point = affine(low, high, least_scale=least_scale)
        self.quant_min, self.quant_max = -128, 127
        self.qscheme = torch.per_tensor_affine

    def forward(self, x: Tensor) -> Tensor:
        return x

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:
        return torch.tensor([self.scale]), torch.tensor([self.zero_point])


def affine(low: float, high: float, *, least_scale: float = SMALLEST_SCALE) -> tuple[float, int]:
    """Return the int8 (scale, zero point) of a range that is widened to hold zero; scale is a float32 value."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max((high - low) / 255.0, least_scale)
    zero_point = min(127, max(-128, round(-128.0 - low / scale)))
    return float(torch.tensor(scale, dtype=torch.float32)), int(zero_point)


class WeightObserver(PerChannelMinMaxObserver):
    """Symmetric scales per output channel, none below `least_scales`: dead channels must not have dead multipliers."""

    def __init__(self, *, least_scales: Tensor, **options: Any) -> None:
        super().__init__(**options)
        self.least_scales = least_scales

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:
        scale, zero_point = super().calculate_qparams()
        return torch.maximum(scale, self.least_scales.to(scale.dtype)), zero_point


class PlannedQuantizer(Quantizer):
    """Annotates a graph after `plan`: outputs of its points with the given ranges, weights per output channel."""

    def __init__(self, ranges: tuple[Range, ...], *, float_layers: tuple[str, ...]) -> None:
        super().__init__()
        self._float_layers = float_layers
        self._ranges = {item.name: item for item in ranges}

    def annotate(self, model: GraphModule) -> GraphModule:
        """Return the model with a quantization annotation on every node that the plan names."""
        found = plan(model, float_layers=self._float_layers)
        scales = _fitting_scales(model, found, self._ranges)
        outputs: dict[Node, QuantizationSpec | SharedQuantizationSpec] = {}
        for point in found.points:
            first, *others = point.nodes
            outputs[first] = _activation_spec(self._ranges[point.name], least_scale=scales[first])
            outputs.update((node, SharedQuantizationSpec(first)) for node in others)
        for node in {*outputs, *found.weighted}:
            weighted = node in found.weighted
            node.meta[Q_ANNOTATION] = QuantizationAnnotation(
                input_qspec_map={node.args[1]: _weight_spec(_least_scales(model, node, scales))} if weighted else {},
                output_qspec=outputs.get(node),
                _annotated=True,
            )
        return model

    def validate(self, model: GraphModule) -> None:
        """Accept any plan: `quantize` has checked the ranges against it."""


def _fitting_scales(model: GraphModule, found: Plan, ranges: dict[str, Range]) -> dict[Node, float]:
    """Return the scale of each node of the plan, enlarged where a convolution's factor would be too large."""
    leaders = {node: point.nodes[0] for point in found.points for node in point.nodes}
    scales = {point.nodes[0]: affine(ranges[point.name].low, ranges[point.name].high)[0] for point in found.points}
    for node in found.weighted:
        source, target = leaders[_input(node)], leaders[fused_output(node)]
        largest = scales[source] * float(_stored(model, node.args[1]).abs().max()) / 127.0
        if len(node.args) > 2 and node.args[2] is not None:
            largest = max(largest, float(_stored(model, node.args[2]).abs().max()) / LARGEST_BIAS)
        scales[target] = max(scales[target], largest / LARGEST_FACTOR)
    return {node: scales[leader] for node, leader in leaders.items()}


def _least_scales(model: GraphModule, node: Node, scales: dict[Node, float]) -> Tensor:
    """Return (output channels,): the smallest weight scales that the multiplier and the int32 bias of a node allow."""
    channels = _stored(model, node.args[1]).shape[0]
    least = torch.full((channels,), scales[fused_output(node)] * LEAST_FACTOR / scales[_input(node)])
    if len(node.args) < 3 or node.args[2] is None:
        return least
    return torch.maximum(least, _stored(model, node.args[2]).abs() / (scales[_input(node)] * LARGEST_BIAS))


def _input(node: Node) -> Node:
    source = node.args[0]
    assert isinstance(source, Node)
    return source


def _stored(model: GraphModule, node: object) -> Tensor:
    """Return the tensor that a graph's `get_attr` node stands for."""
    assert isinstance(node, Node)
    found = attrgetter(str(node.target))(model)
    assert isinstance(found, Tensor)
    return found.detach()


def _weight_spec(least_scales: Tensor) -> QuantizationSpec:
    return QuantizationSpec(
        dtype=torch.int8,
        observer_or_fake_quant_ctr=WeightObserver.with_args(least_scales=least_scales),
        quant_min=-127,
        quant_max=127,
        qscheme=torch.per_channel_symmetric,
        ch_axis=0,
    )


def _activation_spec(item: Range, *, least_scale: float) -> QuantizationSpec:
    return QuantizationSpec(
        dtype=torch.int8,
        observer_or_fake_quant_ctr=FromRange.with_args(low=item.low, high=item.high, least_scale=least_scale),
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


def quantize(
    program: ExportedProgram, *, ranges: tuple[Range, ...], float_layers: tuple[str, ...] = ()
) -> QuantizedPrograms:
    """Return the int8 graphs of a float program from the ranges of its points, `float_layers` left in float.

    Raises:
        CheckpointError: ranges and graph do not name the same points: they were observed on another net.
    """
    graph = program.module()
    check_ranges(plan(graph), ranges)
    _check_layers(plan(graph), float_layers)
    found = plan(graph, float_layers=float_layers)
    quantizer = PlannedQuantizer(ranges, float_layers=float_layers)
    unfolded, folded = (_converted(program, quantizer, fold=fold) for fold in (False, True))
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


def _check_layers(found: Plan, float_layers: tuple[str, ...]) -> None:
    for layer in float_layers:
        if not any(is_below(name, (layer,)) for name in found.in_int8):
            paths = {name.split(":")[0] for name in found.in_int8} - {""}
            raise unknown("layer to keep in float", layer, paths)


def _converted(program: ExportedProgram, quantizer: PlannedQuantizer, *, fold: bool) -> ExportedProgram:
    arguments, _ = program.example_inputs
    with torch.no_grad():
        prepared = prepare_pt2e(program.module(), quantizer)
        prepared(*arguments)  # the weights' own observers look at them once; activations come from the ranges
        return torch.export.export(convert_pt2e(prepared, fold_quantize=fold), arguments)
