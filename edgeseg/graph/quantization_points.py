"""Which tensors of a float graph become int8, under which names, and which of them share one scale.

The plan follows from the graph and a backend's `QuantizationRules` alone, and calibration and quantization both use it.
A *point* is the output of a node that gets a quantize/dequantize pair. Convolutions, additions, products, pools,
resizes and concatenations compute in int8, so their inputs and outputs are points; everything else (hard-swish,
sigmoids, softmax, layer norm, normalisation, argmax) computes in float between two points.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.fx import GraphModule, Node

from edgeseg.core.quantization_rules import (
    DEFAULT_RULES,
    ELEMENTWISE,
    FUSABLE,
    POOLS_AND_RESIZES,
    RECTIFIERS,
    WEIGHTED_OPS,
    QuantizationRules,
    check_ops,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

aten = torch.ops.aten

# Where an activation is flat: values beyond these ends give the same output as the ends.
FLAT_BEYOND: dict[str, tuple[float, float]] = {"hardswish": (-3.0, float("inf")), "hardsigmoid": (-3.0, 3.0)}

ANY = (float("-inf"), float("inf"))

IMAGE = ":permute"
"""The name of the normalised image's point."""

# Neither float nor int8: they move numbers, convert types or check.
MOVING = (
    aten.permute.default,
    aten.to.dtype,
    aten._to_copy.default,  # noqa: SLF001 - an operator of exported graphs
    aten._assert_tensor_metadata.default,  # noqa: SLF001 - an operator of exported graphs
)
RESHAPING = frozenset(
    [
        "permute",
        "transpose",
        "view",
        "reshape",
        "_unsafe_view",
        "flatten",
        "squeeze",
        "unsqueeze",
        "expand",
        "slice",
        "select",
        "split",
        "split_with_sizes",
        "chunk",
        "getitem",
        "pixel_shuffle",
        "pixel_unshuffle",
        "channel_shuffle",
        "clone",
        "contiguous",
        "alias",
    ]
)
"""Ops that only move numbers: between int8 ops, their output shares the scale of their input."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Tensors with a common scale: the first node's name, and the nodes in graph order."""

    name: str
    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizationPlan:
    """What becomes int8 under some rules: points, nodes with int8 weights, names of nodes in int8 and left in float."""

    points: tuple[Point, ...]
    weighted: tuple[Node, ...]
    in_int8: tuple[str, ...]
    in_float: tuple[str, ...]
    rules: QuantizationRules = DEFAULT_RULES


def plan_quantization(
    graph: GraphModule,
    *,
    rules: QuantizationRules = DEFAULT_RULES,
    float_layers: tuple[str, ...] = (),
    only: frozenset[str] | None = None,
) -> QuantizationPlan:
    """Return what becomes int8 in a float graph from `torch.export` with batch norms folded.

    Modules below the paths in `float_layers` compute in float; with `only`, so do all nodes except those with these
    names.

    Raises:
        UnknownName: a rule names an op that it cannot apply to; the message has the nearest known op.
    """
    check_ops((*rules.float_ops, *rules.fusing_ops, *rules.fused_activations, *rules.forced_points))
    nodes = [node for node in graph.graph.nodes if node.op == "call_function"]
    names = point_names(nodes)
    computing = [node for node in nodes if _computes_in_int8(node, rules) and not is_below(names[node], float_layers)]
    computing = [node for node in computing if only is None or names[node] in only]
    chosen = {fused_output(node, rules) for node in computing}
    chosen.update(fused_output(node, rules) for node in nodes if op_name(node) in rules.forced_points)
    for node in computing:
        chosen.update(fused_output(source, rules) for source in _tensor_inputs(node) if source.op == "call_function")
    ordered = [node for node in nodes if node in chosen]
    groups = _groups(ordered, rules)
    return QuantizationPlan(
        points=tuple(Point(name=names[group[0]], nodes=tuple(group)) for group in groups),
        weighted=tuple(node for node in computing if op_name(node) in WEIGHTED_OPS),
        in_int8=tuple(names[node] for node in computing),
        in_float=tuple(names[node] for node in nodes if _stays_in_float(node, computing, rules)),
        rules=rules,
    )


def other_points(graph: GraphModule, found: QuantizationPlan) -> tuple[Point, ...]:
    """Return a point for every float tensor without one in a plan: other backends' rules may need its range."""
    nodes = [node for node in graph.graph.nodes if node.op == "call_function"]
    names = point_names(nodes)
    known = {node for point in found.points for node in point.nodes}
    return tuple(
        Point(name=names[node], nodes=(node,)) for node in nodes if node not in known and _holds_activations(node)
    )


def _holds_activations(node: Node) -> bool:
    value = node.meta.get("val")
    if not isinstance(value, torch.Tensor) or not value.is_floating_point() or value.numel() <= 1:
        return False
    return node.target not in MOVING and op_name(node) not in RESHAPING


def is_below(name: str, layers: tuple[str, ...]) -> bool:
    """Return whether a module or point is one of the modules `layers`, or inside one of them."""
    path = name.split(":", maxsplit=1)[0]
    return any(path == layer or path.startswith(f"{layer}.") for layer in layers)


def useful_span(point: Point) -> tuple[float, float]:
    """Return the ends beyond which every reader of the point is flat; infinite where a reader is not.

    A range that ends there loses nothing, and its steps are finer: hard-swish maps everything below -3 to 0.
    """
    readers = {op_name(user) for node in point.nodes for user in node.users}
    spans = [FLAT_BEYOND.get(name, ANY) for name in readers]
    return min((low for low, _ in spans), default=ANY[0]), max((high for _, high in spans), default=ANY[1])


def point_names(nodes: Iterable[Node]) -> dict[Node, str]:
    """Return a name for each node that does not depend on the input's size: its module's path, a colon, its op.

    A second node of the same op in the same module gets `#2` and so on.
    """
    counts: dict[str, int] = {}
    names = {}
    for node in nodes:
        stack = list(node.meta.get("nn_module_stack", {}).values())
        name = f"{stack[-1][0] if stack else ''}:{_op(node)}"
        counts[name] = counts.get(name, 0) + 1
        names[node] = name if counts[name] == 1 else f"{name}#{counts[name]}"
    return names


def op_name(node: Node) -> str:
    """Return the name of the op that a node calls, without overload and the underscore of in-place variants."""
    return _op(node).removesuffix("_")


def _op(node: Node) -> str:
    if node.target is operator.getitem:
        return "getitem"
    return str(getattr(node.target, "_schema", node.target)).split("(")[0].split("::")[-1].split(".")[0]


def _computes_in_int8(node: Node, rules: QuantizationRules) -> bool:
    name = op_name(node)
    if name in rules.float_ops:
        return False
    if name in ELEMENTWISE:
        # With a number or a stored constant it is normalisation or a scale: cheap, and more exact in float.
        inputs = _tensor_inputs(node)
        scaled = node.kwargs.get("alpha", 1) != 1
        return len(inputs) == 2 and all(source.op == "call_function" for source in inputs) and not scaled
    if name in WEIGHTED_OPS:
        return _has_stored_weight(node)
    if name == "mean":
        return node.target is aten.mean.dim and _is_spatial(node)
    if name in FUSABLE:
        return name in (*RECTIFIERS, "leaky_relu") and not is_fused(node, rules) and _reads_int8(node, rules)
    return name in POOLS_AND_RESIZES


def _reads_int8(node: Node, rules: QuantizationRules) -> bool:
    """Return whether a node's input is computed in int8: after a float op an activation is cheaper in float, too."""
    source = node.args[0]
    while isinstance(source, Node) and op_name(source) in RESHAPING:
        source = source.args[0]
    return isinstance(source, Node) and source.op == "call_function" and _computes_in_int8(source, rules)


def _has_stored_weight(node: Node) -> bool:
    """Return whether a layer's weight is stored: a computed weight has no scales."""
    weight = node.args[1] if len(node.args) > 1 else None
    return isinstance(weight, Node) and weight.op == "get_attr"


def _is_spatial(mean: Node) -> bool:
    """Return whether a mean is over height and width: no backend has an int8 kernel for a mean over channels."""
    source, dims = mean.args[0], mean.args[1] if len(mean.args) > 1 else mean.kwargs.get("dim")
    rank = source.meta["val"].ndim if isinstance(source, Node) and "val" in source.meta else 4
    if not isinstance(dims, (list, tuple)):
        return False
    return rank == 4 and sorted(int(dim) % 4 for dim in dims) == [2, 3]


def _moves_stored_numbers(node: Node, rules: QuantizationRules) -> bool:
    """Return whether an op's int8 kernel uses the same scale for input and output."""
    name = op_name(node)
    if name in RECTIFIERS:
        return not is_fused(node, rules)
    return name in RESHAPING or name in POOLS_AND_RESIZES


def is_fused(node: Node, rules: QuantizationRules = DEFAULT_RULES) -> bool:
    """Return whether an activation is fused into the kernel before it, which has no other reader."""
    if op_name(node) not in rules.fused_activations or not node.args or not isinstance(node.args[0], Node):
        return False
    source = node.args[0]
    return op_name(source) in rules.fusing_ops and len(source.users) == 1


def fused_output(node: Node, rules: QuantizationRules = DEFAULT_RULES) -> Node:
    """Return the node whose output a kernel writes: the activation that is fused into it, or the node itself."""
    users = list(node.users)
    return users[0] if len(users) == 1 and is_fused(users[0], rules) and users[0].args[0] is node else node


def _tensor_inputs(node: Node) -> list[Node]:
    name = op_name(node)
    if name in ELEMENTWISE:
        return [source for source in node.args if isinstance(source, Node)]
    if name == "cat":
        return list(node.args[0])  # type: ignore[arg-type]
    return [node.args[0]] if isinstance(node.args[0], Node) else []


def _stays_in_float(node: Node, computing: list[Node], rules: QuantizationRules) -> bool:
    if node in computing or node.target in MOVING or op_name(node) in RESHAPING:
        return False
    return not (is_fused(node, rules) and node.args[0] in computing)


def _groups(points: list[Node], rules: QuantizationRules) -> list[list[Node]]:
    """Return the points as groups that share one scale, each in graph order, ordered by their first node."""
    leader = {node: node for node in points}
    for node in points:
        if not _moves_stored_numbers(node, rules):
            continue
        for source in _tensor_inputs(node):
            _merge(leader, fused_output(_moved_from(source, leader), rules), node)
    groups: dict[Node, list[Node]] = {}
    for node in points:
        groups.setdefault(_root(leader, node), []).append(node)
    return list(groups.values())


def _moved_from(node: Node, points: dict[Node, Node]) -> Node:
    """Return where a node's numbers come from, looking through reshapes that are not points."""
    while node not in points and node.op == "call_function" and op_name(node) in RESHAPING:
        source = node.args[0]
        assert isinstance(source, Node)
        node = source
    return node


def _merge(leader: dict[Node, Node], first: Node, second: Node) -> None:
    if first in leader:
        leader[_root(leader, second)] = _root(leader, first)


def _root(leader: dict[Node, Node], node: Node) -> Node:
    while leader[node] is not node:
        node = leader[node]
    return node
