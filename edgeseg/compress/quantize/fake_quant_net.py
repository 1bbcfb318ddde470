"""A net that simulates its int8 artifact in float: the PT2E graph with fake quantization at every point."""

from __future__ import annotations

import math
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node
from torch.fx.graph import CodeGen

from edgeseg.compress.quantize.fake_quant import AverageRange, FakeActivation, FakeWeight, LearnedRange
from edgeseg.compress.quantize.recipe import QatRecipe
from edgeseg.core.quantization import Range
from edgeseg.core.silence import quiet_loggers
from edgeseg.errors import TrainingError
from edgeseg.graph.float_graph import INNER, float_graph
from edgeseg.graph.quantization_points import Point, aten, plan_quantization, useful_span
from edgeseg.graph.scale_limits import Load, affine, fitting_scales, least_weight_scales

if TYPE_CHECKING:
    from torchao.quantization.pt2e.quantizer import QuantizationSpec

with quiet_loggers("torchao", "torch.utils._pytree"):  # it logs kernels of other machines that do not load
    from torchao.quantization.pt2e.quantize_pt2e import prepare_qat_pt2e

    from edgeseg.export.quantizing import (
        PlannedQuantizer,
        activation_spec,
        bias_of,
        check_int8_paths,
        join_norms,
        part_norms,
        points_of,
        ranges_of,
        weight_spec,
    )

LOGITS_RATE = 0.1
"""Weight of a narrower batch in the range of the logits, at least; a wider one widens it at once."""
# Their outputs are already on the grid of their inputs.
ON_GRID = (
    aten.max_pool2d.default,
    aten.cat.default,
    aten.upsample_nearest2d.vec,
    aten.relu.default,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """A convolution or linear layer: keys of its weight, bias and fake quantization, names of the points around it."""

    weight: str
    bias: str
    fake: str
    source: str
    target: str


class QuantNet(nn.Module):
    """Returns logits from normalised images through the fake-quantized graph of a folded net.

    Before each pass it adjusts the scales to the limits of the engines' kernels, by the same rule as conversion.
    """

    def __init__(self, graph: GraphModule, *, points: dict[str, str], wires: tuple[Wire, ...]) -> None:
        super().__init__()
        self.graph = graph
        self._points, self._wires = points, wires

    @property
    def encoder(self) -> nn.Module:
        """The net's encoder, for its own learning rate; an empty module if there is none."""
        found: nn.Module = getattr(getattr(self.graph, INNER), "encoder", nn.Module())
        return found

    @property
    def layers(self) -> int:
        """The number of layers with int8 weights."""
        return len({wire.fake for wire in self._wires})

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, C, h, w) from normalised images x (N, 3, H, W) of the size the net was built for."""
        self._fit()
        (logits,) = self.graph(x)
        assert isinstance(logits, Tensor)
        return logits

    def freeze(self, frozen: bool) -> None:
        """Freeze the ranges, or make them trainable."""
        for name in self._points:
            self.point(name).frozen = frozen

    def ranges(self) -> dict[str, tuple[float, float]]:
        """Return the (low, high) of every quantized point, by name."""
        self._fit()
        return {name: self.point(name).range() for name in self._points}

    def fit(self) -> None:
        """Set every scale and zero point from the ranges; a forward pass does this too."""
        self._fit()

    def weights(self) -> dict[str, Tensor]:
        """Return the folded weights and biases by their keys in the plain net."""
        inner: nn.Module = getattr(self.graph, INNER)
        return {key: value.detach() for key, value in inner.state_dict().items()}

    @torch.no_grad()
    def round_weights(self) -> None:
        """Round every weight in place to the int8 steps of the last `fit`; conversion finds the same steps again."""
        for wire in self._wires:
            weight = self._stored(wire.weight)
            weight.copy_(self._fake(wire)(weight))

    def point(self, name: str) -> FakeActivation:
        """Return the fake quantization of a point."""
        found = self.graph.get_submodule(self._points[name])
        assert isinstance(found, FakeActivation)
        return found

    @torch.no_grad()
    def _fit(self) -> None:
        """Set every scale and zero point from the ranges, and the least scales of the weights.

        Raises:
            TrainingError: a range that is not finite.
        """
        points = {name: self.point(name) for name in self._points}
        # All numbers in one read: on an accelerator each read waits for the device.
        ends = torch.stack([end for point in points.values() for end in point.ends()]).view(-1, 2).tolist()
        ranges = dict(zip(points, ends, strict=True))
        for name, (low, high) in ranges.items():
            if not (math.isfinite(low) and math.isfinite(high)):
                raise TrainingError(
                    f"{name}: its range is {low} to {high}: the training diverges. The last saved state is kept. Try a "
                    "lower optimizer.rate or range_rate, or optimizer.clip = 1.0."
                )
        scales = {name: affine(low, high)[0] for name, (low, high) in ranges.items()}
        fitting = fitting_scales(scales, self._loads())
        for name, point in points.items():
            point.scale, point.zero_point = affine(*ranges[name], least_scale=fitting[name])
        leasts: dict[str, Tensor] = {}
        for wire in self._wires:
            weight, bias = self._stored(wire.weight), self._stored(wire.bias) if wire.bias else None
            source, target = fitting[wire.source], fitting[wire.target]
            least = least_weight_scales(weight.shape[0], bias, source=source, target=target).to(weight)
            other = leasts.get(wire.fake)  # of the same weights, where a layer serves twice
            leasts[wire.fake] = least if other is None else torch.maximum(least, other)
            self._fake(wire).least_scales = leasts[wire.fake]

    def _loads(self) -> list[Load]:
        largest = [self._stored(wire.weight).abs().max() for wire in self._wires]
        heaviest = [self._stored(wire.bias).abs().max() for wire in self._wires if wire.bias]
        weights, biases = torch.stack(largest).tolist(), iter(torch.stack([*heaviest, largest[0]]).tolist())
        return [
            Load(source=wire.source, target=wire.target, weight=weight, bias=next(biases) if wire.bias else None)
            for wire, weight in zip(self._wires, weights, strict=True)
        ]

    def _fake(self, wire: Wire) -> FakeWeight:
        found = self.graph.get_submodule(wire.fake)
        assert isinstance(found, FakeWeight)
        return found

    def _stored(self, key: str) -> Tensor:
        found = attrgetter(key)(self.graph)
        assert isinstance(found, Tensor)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _FakeSpecs:
    """Specs of a graph to train; see `Specs`."""

    recipe: QatRecipe
    ranges: dict[str, Range]
    still: frozenset[str]
    logits: str
    """The last point. Clipping it teaches nothing, and training lets logits grow: its range follows the batches."""

    def activation(self, point: Point) -> QuantizationSpec:
        """Return the spec of a range that starts at the given one and is trained unless the point is in `still`."""
        start, recipe = self.ranges[point.name], self.recipe
        if point.name in self.still:
            span = start.low, start.high
            return activation_spec(AverageRange.with_args(low=start.low, high=start.high, rate=0.0, span=span))
        least, greatest = useful_span(point)
        low, high = max(start.low, least), min(start.high, greatest)
        if point.name == self.logits:
            rate = max(recipe.ema_rate, LOGITS_RATE)
            return activation_spec(
                AverageRange.with_args(low=low, high=high, rate=rate, span=(least, greatest), widen=True)
            )
        if recipe.mode == "learned":
            return activation_spec(LearnedRange.with_args(low=low, high=high, rate=recipe.range_rate))
        return activation_spec(AverageRange.with_args(low=low, high=high, rate=recipe.ema_rate, span=(least, greatest)))

    def weight(self, node: Node) -> QuantizationSpec:
        """Return the spec of a weight whose scales are computed from the weight."""
        return weight_spec(FakeWeight.with_args())


def quant_net(
    net: nn.Module,
    *,
    size: tuple[int, int],
    ranges: tuple[Range, ...],
    recipe: QatRecipe,
    still: frozenset[str] = frozenset(),
) -> QuantNet:
    """Return the fake-quantized net of a plain one with folded batch norms, starting with `ranges`.

    The ranges of the points in `still` are not trained. The net accepts any batch size of images of `size` (height,
    width) and returns the same logits in training and evaluation mode.

    Raises:
        CheckpointError: the ranges belong to another net.
        UnknownName: the net does not have one of the float layers.
    """
    graph = float_graph(net, size=size)
    whole = plan_quantization(graph)
    starts = ranges_of(whole, ranges, graph=graph)
    check_int8_paths(whole, recipe.float_layers)
    found = plan_quantization(graph, float_layers=recipe.float_layers)
    specs = _FakeSpecs(
        recipe=recipe,
        ranges={**starts, **ranges_of(found, ranges, graph=graph)},
        still=still,
        logits=found.points[-1].name if found.points else "",
    )
    quantizer = PlannedQuantizer(lambda _graph, _plan: specs, float_layers=recipe.float_layers)
    points = {node.name: point.name for point in found.points for node in point.nodes}
    around = {node.name: names for node, names in points_of(found).items()}
    part_norms(graph)
    prepared = prepare_qat_pt2e(graph, quantizer)
    join_norms(prepared)
    return _tidied(prepared, points=points, around=around)


def _tidied(graph: GraphModule, *, points: dict[str, str], around: dict[str, tuple[str, str]]) -> QuantNet:
    """Return the net of a prepared graph, with each fake quantization stored once under its own key.

    PT2E stores a shared one under several keys, and a moving average over the state would update it several times.
    """
    ranges, fakes = nn.ModuleList(), nn.ModuleList()
    keys: dict[str, str] = {}
    wires = []
    for node in list(graph.graph.nodes):
        found = graph.get_submodule(node.target) if node.op == "call_module" else None
        if isinstance(found, FakeActivation):
            name = points[node.args[0].name]
            if name in keys and node.args[0].target in ON_GRID:
                node.replace_all_uses_with(node.args[0])
                graph.graph.erase_node(node)
                continue
            if name not in keys:
                keys[name] = f"ranges.{len(ranges)}"
                ranges.append(found)
            node.target = keys[name]
        elif isinstance(found, FakeWeight):
            node.target = f"fakes.{len(fakes)}"
            fakes.append(found)
            wires += [_wire(user, fake=node, around=around[user.name]) for user in node.users]
    graph.ranges, graph.fakes = ranges, fakes
    # The exported module's own code generator nests arguments and refuses train() and eval().
    graph.graph.set_codegen(CodeGen())
    return QuantNet(GraphModule(graph, graph.graph), points=keys, wires=tuple(wires))


def _wire(user: Node, *, fake: Node, around: tuple[str, str]) -> Wire:
    weight, bias = fake.args[0], bias_of(user)
    assert isinstance(weight, Node)
    return Wire(
        weight=str(weight.target),
        bias="" if bias is None else str(bias.target),
        fake=str(fake.target),
        source=around[0],
        target=around[1],
    )
