"""Which layers read a tensor's channels when only reshapes lie between, as between a layer norm and linear layers."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch.fx import GraphModule, Node
from torch.fx.passes.shape_prop import ShapeProp

from edgeseg.graph.quantization_points import op_name

if TYPE_CHECKING:
    from torch import Tensor

_SAME_AXES = ("clone", "contiguous", "alias", "to", "_to_copy", "dropout")
_RESHAPES = ("view", "reshape", "_unsafe_view", "flatten", "unflatten", "unsqueeze", "squeeze")

Shapes = dict[Node, tuple[int, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelReader:
    """A linear layer or convolution that reads each channel with weights of its own."""

    node: Node
    depthwise: bool


def node_shapes(graph: GraphModule, images: Tensor) -> Shapes:
    """Return the shape of each node's tensor for images (N, 3, H, W)."""
    ShapeProp(graph).propagate(images)
    found = {node: getattr(node.meta.get("tensor_meta"), "shape", None) for node in graph.graph.nodes}
    return {node: tuple(shape) for node, shape in found.items() if shape is not None}


def tensor_reads(graph: GraphModule) -> Counter[str]:
    """Return how many nodes read each stored tensor, by its name; a layer called twice reads its weight twice."""
    reads: Counter[str] = Counter()
    for node in graph.graph.nodes:
        if node.op == "get_attr":
            reads[str(node.target)] += len(node.users)
    return reads


def channel_readers(node: Node, *, axis: int, shapes: Shapes) -> tuple[ChannelReader, ...] | None:
    """Return the layers that read the channels of a node, on `axis` of its output, through reshapes only.

    None if anything else reads them, or a layer that mixes channels before weights of its own.
    """
    found: list[ChannelReader] = []
    for user in node.users:
        reader = _reader(user, node, axis=axis, shapes=shapes)
        if reader is not None:
            found.append(reader)
            continue
        after = _moved(user, node, axis=axis, shapes=shapes)
        below = None if after is None else channel_readers(user, axis=after, shapes=shapes)
        if below is None:
            return None
        found.extend(below)
    return tuple(found)


def _reader(user: Node, node: Node, *, axis: int, shapes: Shapes) -> ChannelReader | None:
    name = op_name(user)
    if name not in ("linear", "conv2d") or user.args[0] is not node:
        return None
    weight = user.args[1]
    if not isinstance(weight, Node) or weight.op != "get_attr":
        return None
    channels, (outputs, inputs, *_) = shapes[node][axis], shapes[weight]
    if name == "linear":
        return ChannelReader(node=user, depthwise=False) if axis == len(shapes[node]) - 1 else None
    if axis != 1 or not (inputs == channels or (inputs == 1 and outputs == channels)):
        return None
    return ChannelReader(node=user, depthwise=inputs != channels)


def _moved(user: Node, node: Node, *, axis: int, shapes: Shapes) -> int | None:
    """Return the axis of the channels after an op that only moves numbers; None if it splits or mixes channels."""
    name = op_name(user)
    rank = len(shapes[node])
    if user not in shapes or not user.args or user.args[0] is not node:
        return None
    if name in _SAME_AXES:
        return axis
    if name == "permute":
        dims = [int(dim) % rank for dim in user.args[1]]  # type: ignore[arg-type, union-attr]
        return dims.index(axis)
    if name == "transpose":
        first, second = (int(dim) % rank for dim in user.args[1:3])  # type: ignore[arg-type]
        return {first: second, second: first}.get(axis, axis)
    if name not in _RESHAPES:
        return None
    before, after = shapes[node], shapes[user]
    places = [
        place
        for place, size in enumerate(after)
        if size == before[axis] and math.prod(after[:place]) == math.prod(before[:axis])
    ]
    return places[-1] if places else None
