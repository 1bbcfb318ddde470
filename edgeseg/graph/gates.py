"""Squeeze-and-excite gates of a float graph, found by their structure.

A gate multiplies a feature map by factors from its own mean: mean over height and width, two layers with an activation
between them, a sigmoid or hard-sigmoid, and the product (Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch.fx import GraphModule, Node

from edgeseg.graph.float_graph import INNER, layer_path
from edgeseg.graph.quantization_points import RESHAPING, op_name

_SIGMOIDS = ("sigmoid", "hardsigmoid")
_LAYERS = ("conv2d", "linear")
BETWEEN = (*_LAYERS, *_SIGMOIDS, *RESHAPING, "relu", "relu6", "hardtanh", "hardswish", "silu", "gelu", "leaky_relu")
"""Ops that may lie between the mean and the product."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """A gate that can be folded.

    `module` is its module's path in the plain net, `reader` the only convolution that reads the product, and `factors`
    the node of its factors, (N, C) or (N, C, 1, 1).
    """

    module: str
    reader: str
    factors: Node


def find_gates(graph: GraphModule) -> tuple[tuple[Gate, ...], tuple[str, ...]]:
    """Return the gates of a float graph that can be folded, and one line for each other gate that says why not."""
    gates, unfit = [], []
    for node in graph.graph.nodes:
        parts = _parts(node)
        if parts is None:
            continue
        gate = _gate(node, parts)
        if isinstance(gate, Gate):
            gates.append(gate)
        else:
            unfit.append(gate)
    return tuple(gates), tuple(unfit)


def _parts(product: Node) -> list[Node] | None:
    """Return the nodes of the gate that ends in a product, from its factors back to the mean, or None."""
    if product.op != "call_function" or op_name(product) != "mul":
        return None
    inputs = [item for item in product.args[:2] if isinstance(item, Node)]
    for source, factors in (inputs, inputs[::-1]) if len(inputs) == 2 else ():
        parts = _chain(factors, source)
        names = [op_name(part) for part in parts]
        if sum(name in _LAYERS for name in names) == 2 and any(name in _SIGMOIDS for name in names):
            return parts
    return None


def _chain(factors: Node, source: Node) -> list[Node]:
    """Return the nodes from `factors` back to the mean of `source`; empty if they have another input."""
    found, node = [], factors
    while node.op == "call_function" and op_name(node) in (*BETWEEN, "mean"):
        found.append(node)
        before = node.args[0]
        if op_name(node) == "mean":
            return found if before is source else []
        if not isinstance(before, Node):
            break
        node = before
    return []


def _gate(product: Node, parts: list[Node]) -> Gate | str:
    """Return the gate that ends in a product, or the reason why it cannot be folded."""
    module = _common_module([product, *parts])
    name = module or "The net"
    inside = {node for node in product.graph.nodes if _lies_in(node, module)}
    if not module or inside != {product, *parts}:
        return f"{name} holds other ops beside the gate, so an identity cannot replace it"
    users = list(product.users)
    if len(users) != 1 or op_name(users[0]) != "conv2d" or users[0].args[0] is not product:
        return f"The output of {name} is not read by exactly one convolution"
    groups = users[0].args[6] if len(users[0].args) > 6 else 1
    if groups != 1:
        return f"The convolution after {name} is grouped"
    return Gate(module=module, reader=layer_path(users[0]), factors=parts[0])


def _common_module(nodes: list[Node]) -> str:
    """Return the path, in the plain net, of the innermost module that contains all nodes; "" for the net itself."""
    paths = [set(_modules(node)) for node in nodes]
    shared = set.intersection(*paths)
    return max(shared, key=len, default="")


def _lies_in(node: Node, module: str) -> bool:
    return node.op == "call_function" and module in _modules(node)


def _modules(node: Node) -> list[str]:
    """Return the paths, in the plain net, of the modules that contain a node, outermost first."""
    stack = [str(path) for path, _ in node.meta.get("nn_module_stack", {}).values()]
    return [path.removeprefix(f"{INNER}.") for path in stack if path.startswith(f"{INNER}.")]
