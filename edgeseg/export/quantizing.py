"""From a float graph and activation ranges to an int8 graph, by torchao's PT2E with our own quantizer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node
from torch.nn import functional as F
from torchao.quantization.pt2e import MinMaxObserver, ObserverBase, PerChannelMinMaxObserver
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e
from torchao.quantization.pt2e.quantizer import (
    QuantizationAnnotation,
    QuantizationSpec,
    Quantizer,
    SharedQuantizationSpec,
)

from edgeseg.core.quantization import Range
from edgeseg.core.quantization_rules import DEFAULT_RULES, QuantizationRules
from edgeseg.core.suggestions import unknown
from edgeseg.errors import CheckpointError
from edgeseg.graph.node_values import NodeObserver
from edgeseg.graph.quantization_points import (
    Point,
    QuantizationPlan,
    fused_output,
    is_below,
    op_name,
    plan_quantization,
)
from edgeseg.graph.scale_limits import Load, affine, fitting_scales, least_weight_scales, unsaturated_weight_scales

Q_ANNOTATION = "quantization_annotation"
_NORMS = ("batch_norm", "_native_batch_norm_legit_no_training")
_ALIAS = torch.ops.aten.alias.default


class FromRange(ObserverBase):  # type: ignore[misc]  # torchao is untyped
    """An observer with a fixed range; it observes nothing."""

    def __init__(
        self, *, dtype: torch.dtype, low: float, high: float, least_scale: float, symmetric: bool, **_: object
    ) -> None:
        super().__init__(dtype=dtype, is_dynamic=False)
        self.scale, self.zero_point = affine(low, high, least_scale=least_scale, symmetric=symmetric)
        self.quant_min, self.quant_max = -128, 127
        self.qscheme = torch.per_tensor_symmetric if symmetric else torch.per_tensor_affine

    def forward(self, x: Tensor) -> Tensor:
        """Return x."""
        return x

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:
        """Return scale and zero point, (1,) each."""
        return torch.tensor([self.scale]), torch.tensor([self.zero_point])


class WeightObserver(PerChannelMinMaxObserver):  # type: ignore[misc]  # torchao is untyped
    """Symmetric scales per output channel, at least `least_scales`: dead channels must not underflow multipliers."""

    def __init__(self, *, least_scales: Tensor, **options: Any) -> None:
        super().__init__(**options)
        self.least_scales = least_scales

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:
        """Return scales and zero points, (output channels,) each."""
        scale, zero_point = super().calculate_qparams()
        return torch.maximum(scale, self.least_scales.to(scale.dtype)), zero_point


class WholeWeightObserver(MinMaxObserver):  # type: ignore[misc]  # torchao is untyped
    """One symmetric scale for a whole weight, not below the largest of `least_scales`."""

    def __init__(self, *, least_scales: Tensor, **options: Any) -> None:
        super().__init__(**options)
        self.least_scales = least_scales

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:
        """Return scale and zero point, (1,) each."""
        scale, zero_point = super().calculate_qparams()
        return torch.maximum(scale, self.least_scales.max().to(scale.dtype)), zero_point


class Specs(Protocol):
    """The quantization specs of the tensors of one graph."""

    def activation(self, point: Point) -> QuantizationSpec:
        """Return the spec of a point's first node; its other nodes share it."""

    def weight(self, node: Node) -> QuantizationSpec:
        """Return the spec of the weight of a convolution or linear layer."""


SpecsOf = Callable[[GraphModule, QuantizationPlan], Specs]


class PlannedQuantizer(Quantizer):  # type: ignore[misc]  # torchao is untyped
    """Annotates the points and weights of a planned graph with the specs that `specs_of` returns."""

    def __init__(
        self, specs_of: SpecsOf, *, float_layers: tuple[str, ...], rules: QuantizationRules = DEFAULT_RULES
    ) -> None:
        super().__init__()
        self._float_layers, self._rules = float_layers, rules
        self._specs_of = specs_of

    def annotate(self, model: GraphModule) -> GraphModule:
        """Return the model with a quantization annotation on every node that the plan names."""
        found = plan_quantization(model, rules=self._rules, float_layers=self._float_layers)
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
        """Accept any plan: `quantize_program` has checked the ranges."""


class KnownRanges:
    """Specs from given ranges and stored weights, with scales enlarged where kernels need it."""

    def __init__(
        self, model: GraphModule, found: QuantizationPlan, ranges: tuple[Range, ...], *, images: Sequence[Tensor] = ()
    ) -> None:
        self._model = model
        self._rules = found.rules
        self._ranges = ranges_of(found, ranges, graph=model)
        self._points = points_of(found)
        symmetric = found.rules.symmetric_activations
        scales = {name: affine(item.low, item.high, symmetric=symmetric)[0] for name, item in self._ranges.items()}
        self.scales = fitting_scales(scales, [self._load(node) for node in found.weighted])
        self._pairs = self._stored_pairs(found.weighted, images) if found.rules.avoid_saturation == "always" else {}

    def activation(self, point: Point) -> QuantizationSpec:
        """Return the spec of a point's range."""
        item, symmetric = self._ranges[point.name], self._rules.symmetric_activations
        observer = FromRange.with_args(
            low=item.low, high=item.high, least_scale=self.scales[point.name], symmetric=symmetric
        )
        return activation_spec(observer, symmetric=symmetric)

    def weight(self, node: Node) -> QuantizationSpec:
        """Return the spec of weight scales that fit the points around the node: per output channel, or one for all.

        Transposed convolutions always have one scale.
        """
        least = self.least_scales(node)
        if self._rules.per_channel_weights and op_name(node) != "conv_transpose2d":
            return weight_spec(WeightObserver.with_args(least_scales=least))
        return whole_weight_spec(WholeWeightObserver.with_args(least_scales=least))

    def least_scales(self, node: Node) -> Tensor:
        """Return (output channels,): the smallest weight scales of a node that kernels can hold."""
        source, target = (self.scales[name] for name in self._points[node])
        # The weight of a transposed convolution is (in, out, h, w).
        weight = stored(self._model, node.args[1])
        channels = weight.shape[op_name(node) == "conv_transpose2d"]
        least = least_weight_scales(channels, self._bias(node), source=source, target=target)
        pairs = self._pairs.get(node)
        return least if pairs is None else torch.maximum(least, unsaturated_weight_scales(weight, pairs=pairs))

    def _stored_pairs(self, nodes: Iterable[Node], images: Sequence[Tensor]) -> dict[Node, Tensor]:
        """Return (ceil(in / 2), 256) for each weighted node: see `unsaturated_weight_scales`.

        Without images, all channels may be 255 at once. The groups of a grouped convolution count as one. Transposed
        convolutions have one scale, and are left out.
        """
        paired = [node for node in nodes if op_name(node) != "conv_transpose2d"]
        pairs = {node: self._no_pairs(node, last=-1.0 if images else 255.0) for node in paired}
        sources: dict[Node, list[Node]] = {}
        for node in paired:
            sources.setdefault(_input(node), []).append(node)

        def seen(x: Tensor, *, readers: list[Node]) -> None:
            for node in readers:
                channels = x.movedim(-1 if op_name(node) == "linear" else 1, 0).flatten(1)
                codes = self._codes(channels, source=self._points[node][0])
                of_groups = codes.view(-1, stored(self._model, node.args[1]).shape[1], codes.shape[1])
                joined = of_groups.transpose(0, 1).flatten(1)
                joined = F.pad(joined, (0, 0, 0, len(joined) % 2))
                pairs[node].scatter_reduce_(1, joined[0::2], joined[1::2].float(), "amax")

        observer = NodeObserver(self._model, {key: partial(seen, readers=some) for key, some in sources.items()})
        for image in images:
            with torch.no_grad():
                observer.run(image)
        return pairs

    def _no_pairs(self, node: Node, *, last: float) -> Tensor:
        pairs = torch.full(((stored(self._model, node.args[1]).shape[1] + 1) // 2, 256), -1.0)
        pairs[:, -1] = last
        return pairs

    def _codes(self, values: Tensor, *, source: str) -> Tensor:
        """Return the numbers, 0 to 255, as which values of a point are stored."""
        item, scale = self._ranges[source], self.scales[source]
        _, zero_point = affine(item.low, item.high, least_scale=scale, symmetric=self._rules.symmetric_activations)
        return (torch.round(values / scale) + (zero_point + 128)).clamp(0, 255).long()

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


def points_of(found: QuantizationPlan) -> dict[Node, tuple[str, str]]:
    """Return the names of the points that each weighted node reads and writes."""
    names = {node: point.name for point in found.points for node in point.nodes}
    return {node: (names[_input(node)], names[fused_output(node, found.rules)]) for node in found.weighted}


def bias_of(node: Node) -> Node | None:
    """Return the node of a convolution's bias, or None."""
    bias = node.args[2] if len(node.args) > 2 else None
    return bias if isinstance(bias, Node) else None


def _input(node: Node) -> Node:
    source = node.args[0]
    assert isinstance(source, Node)
    return source


def stored(model: GraphModule, node: object) -> Tensor:
    """Return the tensor that a `get_attr` node refers to."""
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


def whole_weight_spec(observer: Callable[..., object]) -> QuantizationSpec:
    """Return the spec of int8 weights, symmetric with one scale for all, that `observer` measures."""
    return QuantizationSpec(
        dtype=torch.int8,
        observer_or_fake_quant_ctr=observer,
        quant_min=-127,
        quant_max=127,
        qscheme=torch.per_tensor_symmetric,
    )


def activation_spec(observer: Callable[..., object], *, symmetric: bool = False) -> QuantizationSpec:
    """Return the spec of int8 activations, affine or symmetric per tensor, that `observer` measures."""
    return QuantizationSpec(
        dtype=torch.int8,
        observer_or_fake_quant_ctr=observer,
        quant_min=-128,
        quant_max=127,
        qscheme=torch.per_tensor_symmetric if symmetric else torch.per_tensor_affine,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizedPrograms:
    """The int8 graph with float weights behind quantize/dequantize pairs, and with weights stored as int8 (folded)."""

    program: ExportedProgram
    folded_program: ExportedProgram
    plan: QuantizationPlan


def quantize_program(
    program: ExportedProgram,
    *,
    ranges: tuple[Range, ...],
    rules: QuantizationRules = DEFAULT_RULES,
    float_layers: tuple[str, ...] = (),
    images: Sequence[Tensor] = (),
) -> QuantizedPrograms:
    """Return the int8 graphs of a float program under a backend's `rules`, with `float_layers` left in float.

    `ranges` may hold more points than the rules need: one calibration serves every backend. `images`, input tensors of
    the program, show how large activations get; rules that avoid saturation expect the largest possible without them.

    Raises:
        CheckpointError: ranges that lack points (named in the message): from another net, or from an older release.
        UnknownName: a float layer that the net does not have, or rules with an unknown op.
    """
    graph = program.module()
    whole = plan_quantization(graph, rules=rules)
    ranges_of(whole, ranges, graph=graph)
    check_int8_paths(whole, float_layers)
    found = plan_quantization(graph, rules=rules, float_layers=float_layers)
    quantizer = PlannedQuantizer(
        lambda model, planned: KnownRanges(model, planned, ranges, images=images),
        float_layers=float_layers,
        rules=rules,
    )
    unfolded, folded = (_converted(program, quantizer, fold=fold) for fold in (False, True))
    return QuantizedPrograms(program=unfolded, folded_program=folded, plan=found)


def ranges_of(found: QuantizationPlan, ranges: tuple[Range, ...], *, graph: GraphModule) -> dict[str, Range]:
    """Return the range of each point of a plan, by the point's name.

    A point without a range of its own gets that of the default rules' points that contain its nodes: other rules group
    the same tensors differently.

    Raises:
        CheckpointError: points without any range.
    """
    given = {item.name: item for item in ranges}
    if all(point.name in given for point in found.points):
        return {point.name: given[point.name] for point in found.points}
    holders = {node: point.name for point in plan_quantization(graph).points for node in point.nodes}
    chosen = {}
    for point in found.points:
        names = {point.name, *(holders.get(node, "") for node in point.nodes)}
        held = [given[name] for name in sorted(names) if name in given]
        if point.name in given:
            chosen[point.name] = given[point.name]
        elif held:
            low, high = min(item.low for item in held), max(item.high for item in held)
            chosen[point.name] = Range(name=point.name, low=low, high=high)
    if missing := [point.name for point in found.points if point.name not in chosen]:
        raise CheckpointError(
            f"Ranges do not fit this net: {len(missing)} of {len(found.points)} points of this net are missing, first "
            f"{missing[0]}. Run edgeseg calibrate again."
        )
    return chosen


def check_int8_paths(found: QuantizationPlan, float_layers: tuple[str, ...]) -> None:
    """Raise `UnknownName` for a path without an int8 layer of the plan."""
    for layer in float_layers:
        if not any(is_below(name, (layer,)) for name in found.in_int8):
            paths = {name.split(":")[0] for name in found.in_int8} - {""}
            raise unknown("layer to keep in float", layer, paths)


def _converted(program: ExportedProgram, quantizer: PlannedQuantizer, *, fold: bool) -> ExportedProgram:
    arguments, _ = program.example_inputs
    with torch.no_grad():
        graph = program.module()
        part_norms(graph)
        prepared = prepare_pt2e(graph, quantizer)
        prepared(*arguments)  # weights are observed here; activation ranges are given
        converted = convert_pt2e(prepared, fold_quantize=fold)
        join_norms(converted)
        return torch.export.export(converted, arguments)


def part_norms(graph: GraphModule) -> None:
    """Put an alias before every batch norm that is left, in place.

    torchao folds each one that reads a convolution or linear layer, even where the layer's output is read elsewhere or
    its weights are shared. All that can be folded have been.
    """
    for node in list(graph.graph.nodes):
        if node.op == "call_function" and op_name(node) in _NORMS:
            source = _input(node)
            with graph.graph.inserting_before(node):
                alias = graph.graph.call_function(_ALIAS, (source,))
            alias.meta = dict(source.meta)
            node.replace_input_with(source, alias)
    graph.recompile()


def join_norms(graph: GraphModule) -> None:
    """Remove the aliases of `part_norms` again, in place."""
    for node in list(graph.graph.nodes):
        if node.target is _ALIAS:
            node.replace_all_uses_with(_input(node))
            graph.graph.erase_node(node)
    graph.recompile()
