"""What a chip's capability table is compared with: the ops of an exported graph, and its activations in memory."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.fx import Node

from edgeseg.core.chip import VIEWS, OpFacts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch.export import ExportedProgram
    from torch.fx import Graph

_NO_OPS = frozenset({
    "alias", "clone", "contiguous", "detach", "dropout", "lift_fresh_copy", "_assert_tensor_metadata", "getitem",
    "_to_copy", "to",
})  # fmt: skip
_SAME = {
    "_adaptive_avg_pool2d": "adaptive_avg_pool2d", "max_pool2d_with_indices": "max_pool2d", "_softmax": "softmax",
    "native_layer_norm": "layer_norm", "bmm": "matmul", "mm": "matmul", "addmm": "linear", "convolution": "conv2d",
    "clamp_min": "relu", "_unsafe_view": "view", "t": "transpose", "numpy_T": "transpose",
    "upsample_bilinear2d_aa": "upsample_bilinear2d", "swapaxes": "transpose", "concat": "cat",
}  # fmt: skip
"""Other ATen names of the same op, by the name that capability tables use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeakActivations:
    """The largest number of activation values that are alive at once, and the op where that happens."""

    values: int
    op: str
    layer: str


def op_facts(program: ExportedProgram, *, peaks: Mapping[str, float] | None = None) -> tuple[OpFacts, ...]:
    """Return the computing ops of a graph in order; `peaks` are the largest absolute values seen, by node."""
    graph = program.graph
    return tuple(_facts(node, (peaks or {}).get(node.name)) for node in graph.nodes if _computes(node))


def peak_activations(program: ExportedProgram, *, merged: Iterable[str] = ()) -> PeakActivations:
    """Return the largest sum of activations alive at one op, by executing in order.

    Views share their input's memory, and so does the output of an op in `merged` (an activation function, which chips
    apply in place). Compilers may need less, by computing in stripes, or more, by copying.
    """
    graph, in_place = program.graph, {*VIEWS, *merged}
    owner = {node: _owner(node, in_place) for node in graph.nodes}
    weights = set(program.graph_signature.user_inputs)
    last: dict[Node, int] = {}
    for index, node in enumerate(graph.nodes):
        for read in node.all_input_nodes:
            last[owner[read]] = index
    alive: dict[Node, int] = {}
    best = PeakActivations(values=0, op="", layer="")
    for index, node in enumerate(graph.nodes):
        mine = owner[node]
        is_activation = node.op == "call_function" or (node.op == "placeholder" and node.name in weights)
        if mine is node and is_activation:
            alive[node] = _values(node)
        total = sum(alive.values())
        if total > best.values and node.op == "call_function":
            best = PeakActivations(values=total, op=_name(node), layer=_layer(node))
        alive = {item: size for item, size in alive.items() if last.get(item, -1) > index}
    return best


def _owner(node: Node, in_place: set[str]) -> Node:
    while node.op == "call_function" and (_name(node) in in_place or _name(node) in _NO_OPS) and node.all_input_nodes:
        node = node.all_input_nodes[0]
    return node


def _computes(node: Node) -> bool:
    return node.op == "call_function" and _name(node) not in _NO_OPS and bool(_shape(node)) and bool(_reads(node))


def _reads(node: Node) -> list[Node]:
    return [read for read in node.all_input_nodes if _shape(read)]


def _name(node: Node) -> str:
    schema = getattr(node.target, "_schema", None)
    name = schema.name.split("::")[-1] if schema is not None else getattr(node.target, "__name__", str(node.target))
    bare = name.removesuffix("_") if name.endswith("_") and not name.startswith("__") else name
    if bare in ("conv2d", "convolution") and _transposed(node):
        return "conv_transpose2d"
    if bare in ("hardtanh", "clamp"):
        return _clipping(node)
    return _SAME.get(bare, bare)


def _clipping(node: Node) -> str:
    """Return "relu", "relu6" or "hardtanh" for an op that clips values at constants."""
    given = _arguments(node)
    low, high = (given.get(name, given.get(other)) for name, other in (("min_val", "min"), ("max_val", "max")))
    if low == 0 and high is None:
        return "relu"
    return "relu6" if (low, high) == (0, 6) else "hardtanh"


def _transposed(node: Node) -> bool:
    return bool(_arguments(node).get("transposed", False))


def _shape(node: Node) -> tuple[int, ...]:
    value = node.meta.get("val")
    if isinstance(value, (tuple, list)):
        value = next((item for item in value if isinstance(item, Tensor)), None)
    return tuple(int(size) for size in value.shape) if isinstance(value, Tensor) else ()


def _values(node: Node) -> int:
    value = node.meta.get("val")
    items = value if isinstance(value, (tuple, list)) else (value,)
    return sum(math.prod(int(size) for size in item.shape) for item in items if isinstance(item, Tensor))


def _layer(node: Node) -> str:
    stack = node.meta.get("nn_module_stack") or {}
    path = str(list(stack.values())[-1][0]) if stack else ""
    return path.removeprefix("L['self'].").removeprefix("net.")


def _arguments(node: Node) -> dict[str, Any]:
    """Return the arguments of an op by their names, defaults included."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return {}
    named = {
        argument.name: node.args[index]
        if index < len(node.args)
        else node.kwargs.get(argument.name, argument.default_value if argument.has_default_value() else None)
        for index, argument in enumerate(schema.arguments)
    }
    return {name: value for name, value in named.items() if not isinstance(value, Node)}


def _facts(node: Node, peak: float | None) -> OpFacts:
    name, given = _name(node), _arguments(node)
    reads, output = _reads(node), _shape(node)
    shapes = tuple(_shape(read) for read in reads)
    kernel = _whole(given.get("kernel_size"))
    if name in ("conv2d", "conv_transpose2d") and len(shapes) > 1:
        kernel = shapes[1][2:]
    first = shapes[0]
    factors: tuple[float, ...] = ()
    if name.startswith("upsample") and len(first) == len(output) == 4:
        factors = tuple(round(output[axis] / first[axis], 6) for axis in (2, 3))
    reduced = math.prod(kernel) if "pool" in name and kernel else 1
    if name in ("mean", "adaptive_avg_pool2d", "sum", "amax"):
        reduced = max(1, math.prod(first) // max(1, math.prod(output)))
    return OpFacts(
        op=name,
        node=node.name,
        layer=_layer(node),
        shapes=shapes,
        output=output,
        kernel=kernel,
        stride=_whole(given.get("stride")) or (kernel if "pool" in name else ()),
        padding=_whole(given.get("padding")),
        dilation=_whole(given.get("dilation")),
        groups=given["groups"] if isinstance(given.get("groups"), int) else 1,
        factors=factors,
        align_corners=given.get("align_corners") is True,
        reduced=reduced,
        over_channels=_over_channels(given.get("dim"), first),
        peak=peak,
    )


def _over_channels(dims: object, shape: tuple[int, ...]) -> bool:
    """Return whether an op reduces the channels of a map of several rows and columns."""
    given = dims if isinstance(dims, (list, tuple)) else [dims]
    reduced = {int(dim) % 4 for dim in given if isinstance(dim, int)}
    return len(shape) == 4 and min(shape[1:]) > 1 and 1 in reduced


def _whole(value: object) -> tuple[int, ...]:
    if isinstance(value, int):
        return (value, value)
    if not isinstance(value, (list, tuple)) or not all(isinstance(item, int) for item in value):
        return ()
    return tuple(value) if len(value) != 1 else (value[0], value[0])


def nodes_to_watch(graph: Graph) -> tuple[Node, ...]:
    """Return the nodes whose values `op_facts` describes."""
    return tuple(node for node in graph.nodes if _computes(node) and isinstance(node.meta.get("val"), Tensor))
