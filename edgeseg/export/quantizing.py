"""A float graph and ranges to an int8 graph, by torchao's PT2E with a quantizer of our own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Protocol

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

from edgeseg.core.suggestions import unknown
from edgeseg.errors import CheckpointError
from edgeseg.graph.quantization_points import Plan, Point, fused_output, is_below, plan
from edgeseg.graph.scale_limits import Load, affine, fitting_scales, least_weight_scales

if TYPE_CHECKING:
    from edgeseg.core.quantization import Range

Q_ANNOTATION = "quantization_annotation"


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


class WeightObserver(PerChannelMinMaxObserver):
    """Symmetric scales per output channel, none below `least_scales`: dead channels must not have dead multipliers."""

    def __init__(self, *, least_scales: Tensor, **options: Any) -> None:
        super().__init__(**options)
        self.least_scales = least_scales

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:
        scale, zero_point = super().calculate_qparams()
        return torch.maximum(scale, self.least_scales.to(scale.dtype)), zero_point


class Specs(Protocol):
    """Says how the tensors of one graph are quantized."""

    def activation(self, point: Point) -> QuantizationSpec:
        """Return the spec of a point's first node; its other nodes share it."""

    def weight(self, node: Node) -> QuantizationSpec:
        """Return the spec of the weight of a convolution or linear layer."""


SpecsOf = Callable[[GraphModule, Plan], Specs]


class PlannedQuantizer(Quantizer):
    """Annotates a graph after `plan`: outputs of its points and weights, each as `specs_of` the graph says."""

    def __init__(self, specs_of: SpecsOf, *, float_layers: tuple[str, ...]) -> None:
        super().__init__()
        self._float_layers = float_layers
        self._specs_of = specs_of

    def annotate(self, model: GraphModule) -> GraphModule:
        """Return the model with a quantization annotation on every node that the plan names."""
        found = plan(model, float_layers=self._float_layers)
        specs = self._specs_of(model, found)
        outputs: dict[Node, QuantizationSpec | SharedQuantizationSpec] = {}
        for point in found.points:
            first, *others = point.nodes
            outputs[first] = specs.activation(point)
            outputs.update((node, SharedQuantizationSpec(first)) for node in others)
        for node in {*outputs, *found.weighted}:
            node.meta[Q_ANNOTATION] = QuantizationAnnotation(
                input_qspec_map={node.args[1]: specs.weight(node)} if node in found.weighted else {},
                output_qspec=outputs.get(node),
                _annotated=True,
            )
        return model

    def validate(self, model: GraphModule) -> None:
        """Accept any plan: `quantize` has checked the ranges against it."""


class KnownRanges:
    """Specs from ranges that are known, with weights as they are; scales enlarged where kernels need it."""

    def __init__(self, model: GraphModule, found: Plan, ranges: tuple[Range, ...]) -> None:
        self._model = model
        self._ranges = {item.name: item for item in ranges}
        self._points = points_of(found)
        known = {point.name: self._ranges[point.name] for point in found.points}
        scales = {name: affine(item.low, item.high)[0] for name, item in known.items()}
        self.scales = fitting_scales(scales, [self._load(node) for node in found.weighted])

    def activation(self, point: Point) -> QuantizationSpec:
        """Return the spec of a point's range."""
        item = self._ranges[point.name]
        return activation_spec(FromRange.with_args(low=item.low, high=item.high, least_scale=self.scales[point.name]))

    def weight(self, node: Node) -> QuantizationSpec:
        """Return the spec of scales per output channel that fit the points around the node."""
        return weight_spec(WeightObserver.with_args(least_scales=self.least_scales(node)))

    def least_scales(self, node: Node) -> Tensor:
        """Return (output channels,): the smallest weight scales of a node that kernels can hold."""
        source, target = (self.scales[name] for name in self._points[node])
        channels = stored(self._model, node.args[1]).shape[0]
        return least_weight_scales(channels, self._bias(node), source=source, target=target)

    def _load(self, node: Node) -> Load:
        source, target = self._points[node]
        bias = self._bias(node)
        return Load(
            source=source,
            target=target,
            weight=float(stored(self._model, node.args[1]).abs().max()),
            bias=None if bias is None else float(bias.abs().max()),
        )

    def _bias(self, node: Node) -> Tensor | None:
        name = bias_of(node)
        return None if name is None else stored(self._model, name)


def points_of(found: Plan) -> dict[Node, tuple[str, str]]:
    """Return the names of the points that each weighted node reads and writes."""
    names = {node: point.name for point in found.points for node in point.nodes}
    return {node: (names[_input(node)], names[fused_output(node)]) for node in found.weighted}


def bias_of(node: Node) -> Node | None:
    """Return the node of a convolution's bias, None where it has none."""
    bias = node.args[2] if len(node.args) > 2 else None
    return bias if isinstance(bias, Node) else None


def _input(node: Node) -> Node:
    source = node.args[0]
    assert isinstance(source, Node)
    return source


def stored(model: GraphModule, node: object) -> Tensor:
    """Return the tensor that a graph's `get_attr` node stands for."""
    assert isinstance(node, Node)
    found = attrgetter(str(node.target))(model)
    assert isinstance(found, Tensor)
    return found.detach()


def weight_spec(observer: Callable[..., object]) -> QuantizationSpec:
    """Return the spec of int8 weights, symmetric per output channel, that `observer` measures."""
    return QuantizationSpec(
        dtype=torch.int8,
        observer_or_fake_quant_ctr=observer,
        quant_min=-127,
        quant_max=127,
        qscheme=torch.per_channel_symmetric,
        ch_axis=0,
    )


def activation_spec(observer: Callable[..., object]) -> QuantizationSpec:
    """Return the spec of int8 activations, affine per tensor, that `observer` measures."""
    return QuantizationSpec(
        dtype=torch.int8,
        observer_or_fake_quant_ctr=observer,
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
    check_layers(plan(graph), float_layers)
    found = plan(graph, float_layers=float_layers)
    quantizer = PlannedQuantizer(lambda model, planned: KnownRanges(model, planned, ranges), float_layers=float_layers)
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


def check_layers(found: Plan, float_layers: tuple[str, ...]) -> None:
    """Raise `UnknownName` for a path that no int8 layer of the plan lies below."""
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
