"""Which tensors of a float graph become int8, under which names, and which of them share one scale.

The plan is made once, from the graph alone, and serves calibration and quantization alike. A *point* is the output of a
node that gets a quantize/dequantize pair. Convolutions, additions, products, pools, resizes and concatenations compute
in int8, so their inputs and outputs are points; everything else (hard-swish, sigmoids, normalisation, argmax) computes
in float between two points. Hard-swish stays in float on purpose: LiteRT has no fast int8 kernel for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.fx import GraphModule, Node

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch._ops import OpOverload

aten = torch.ops.aten

CONVOLUTIONS: tuple[OpOverload, ...] = (aten.conv2d.default, aten.linear.default)
ACTIVATIONS: tuple[OpOverload, ...] = (aten.relu.default, aten.relu_.default, aten.hardtanh.default, aten.relu6.default)
ELEMENTWISE: tuple[OpOverload, ...] = (aten.add.Tensor, aten.mul.Tensor)
MEANS: tuple[OpOverload, ...] = (aten.mean.dim,)
# One scale for input and output: the int8 kernels of LiteRT only move or average stored numbers here.
SAME_SCALE: tuple[OpOverload, ...] = (
    aten.avg_pool2d.default,
    aten.max_pool2d.default,
    aten.upsample_bilinear2d.vec,
    aten.upsample_nearest2d.vec,
    aten.cat.default,
)

# Where an activation is flat: what lies beyond gives the same as what lies at the end.
FLAT_BEYOND: dict[OpOverload, tuple[float, float]] = {
    aten.hardswish.default: (-3.0, float("inf")),
    aten.hardswish_.default: (-3.0, float("inf")),
    aten.hardsigmoid.default: (-3.0, 3.0),
    aten.hardsigmoid_.default: (-3.0, 3.0),
}

ANY = (float("-inf"), float("inf"))

IMAGE = ":permute"
"""The name of the point that normalised images are."""

# Neither float nor int8: they move numbers, convert types or check.
MOVING = (
    aten.permute.default,
    aten.to.dtype,
    aten._to_copy.default,
    aten._assert_tensor_metadata.default,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One group of tensors with a common scale: its name (its first node's), and its nodes in graph order."""

    name: str
    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What becomes int8: points of activations, nodes with int8 weights; names of nodes in int8 and left in float."""

    points: tuple[Point, ...]
    weighted: tuple[Node, ...]
    in_int8: tuple[str, ...]
    in_float: tuple[str, ...]


def plan(graph: GraphModule, *, float_layers: tuple[str, ...] = (), only: frozenset[str] | None = None) -> Plan:
    """Return what becomes int8 in a float graph, as `torch.export` gives it with batch norms folded.

    Modules below the paths in `float_layers` compute in float; with `only`, so do all nodes but those of these names.
    """
    nodes = [node for node in graph.graph.nodes if node.op == "call_function"]
    names = point_names(nodes)
    computing = [node for node in nodes if _computes_in_int8(node) and not is_below(names[node], float_layers)]
    computing = [node for node in computing if only is None or names[node] in only]
    chosen = {fused_output(node) for node in computing}
    for node in computing:
        chosen.update(fused_output(source) for source in _tensor_inputs(node) if source.op == "call_function")
    ordered = [node for node in nodes if node in chosen]
    groups = _groups(ordered)
    return Plan(
        points=tuple(Point(name=names[group[0]], nodes=tuple(group)) for group in groups),
        weighted=tuple(node for node in computing if node.target in CONVOLUTIONS),
        in_int8=tuple(names[node] for node in computing),
        in_float=tuple(names[node] for node in nodes if _stays_in_float(node, computing)),
    )


def is_below(name: str, layers: tuple[str, ...]) -> bool:
    """Return whether a module's or point's name is that of one of the modules `layers`, or of one inside them."""
    path = name.split(":", maxsplit=1)[0]
    return any(path == layer or path.startswith(f"{layer}.") for layer in layers)


def useful_span(point: Point) -> tuple[float, float]:
    """Return the ends beyond which nobody who reads the point tells its values apart; infinite where somebody does.

    A range that stops there loses nothing, and its steps are finer: hard-swish maps all below -3 to 0.
    """
    readers = {user.target for node in point.nodes for user in node.users}
    flat = {op: span for op, span in FLAT_BEYOND.items() if op in readers}
    spans = list(flat.values()) if len(flat) == len(readers) else []
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


def _op(node: Node) -> str:
    return str(getattr(node.target, "_schema", node.target)).split("(")[0].split("::")[-1].split(".")[0]


def _computes_in_int8(node: Node) -> bool:
    if node.target in ELEMENTWISE:
        # An operand that is a number or a stored constant is normalisation or a scale: cheap, and better in float.
        inputs = _tensor_inputs(node)
        return len(inputs) == 2 and all(source.op == "call_function" for source in inputs)
    return node.target in CONVOLUTIONS + SAME_SCALE + MEANS or _is_lone_activation(node)


def _is_lone_activation(node: Node) -> bool:
    return node.target in ACTIVATIONS and _fused_into(node) is None


def _fused_into(node: Node) -> Node | None:
    """Return the convolution or addition whose kernel can apply this activation: its only input, used only here."""
    if node.target not in ACTIVATIONS or not isinstance(node.args[0], Node):
        return None
    source = node.args[0]
    fuses = source.target in (*CONVOLUTIONS, aten.add.Tensor) and len(source.users) == 1
    return source if fuses else None


def fused_output(node: Node) -> Node:
    """Return the node whose output a kernel writes: the activation that is fused into it, or the node itself."""
    users = list(node.users)
    return users[0] if len(users) == 1 and _fused_into(users[0]) is node else node


def _tensor_inputs(node: Node) -> list[Node]:
    if node.target in ELEMENTWISE:
        return [source for source in node.args if isinstance(source, Node)]
    if node.target is aten.cat.default:
        return list(node.args[0])  # type: ignore[arg-type]
    return [node.args[0]] if isinstance(node.args[0], Node) else []


def _stays_in_float(node: Node, computing: list[Node]) -> bool:
    return node not in computing and _fused_into(node) is None and node.target not in MOVING


def _groups(points: list[Node]) -> list[list[Node]]:
    """Return the points as groups that share one scale, each in graph order, ordered by their first node."""
    leader = {node: node for node in points}
    for node in points:
        if node.target not in SAME_SCALE and not _is_lone_activation(node):
            continue
        for source in _tensor_inputs(node):
            _merge(leader, fused_output(source), node)
    groups: dict[Node, list[Node]] = {}
    for node in points:
        groups.setdefault(_root(leader, node), []).append(node)
    return list(groups.values())


def _merge(leader: dict[Node, Node], first: Node, second: Node) -> None:
    if first in leader:
        leader[_root(leader, second)] = _root(leader, first)


def _root(leader: dict[Node, Node], node: Node) -> Node:
    while leader[node] is not node:
        node = leader[node]
    return node
