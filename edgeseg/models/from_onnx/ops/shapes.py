"""Concat, Slice, Reshape and other ops that move numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from edgeseg.models.from_onnx.tracing import Result, normal_axes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgeseg.models.from_onnx.tracing import Node, OnnxValue

_PAD_MODES = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}


def concat(node: Node) -> Result:
    """Add a concatenation; constant parts are operands."""
    parts = [value for value in node.inputs if value is not None and 0 not in _shape(value)]
    rank = max(len(_shape(value)) for value in parts)
    if len(parts) == 1 and isinstance(parts[0], Result):
        return parts[0]
    return node.emit("concat", *parts, settings={"axis": node.attribute("axis", 1) % rank})


def _shape(value: OnnxValue) -> tuple[int, ...]:
    return tuple(value.shape)


def slice_(node: Node) -> Result:
    """Add a slice per axis; backwards ones become a choice of indices."""
    x = node.result(0)
    starts, ends = node.integers(1, "starts"), node.integers(2, "ends")
    axes = node.integers(3, "axes", tuple(range(len(starts))))
    steps = node.integers(4, "steps", (1,) * len(starts))
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        axis, side = axis % len(x.shape), x.shape[axis]  # noqa: PLW2901 - the same axis, counted from 0
        first, last, stride = slice(start, end, step).indices(side)
        if (first, last, stride) == (0, side, 1):
            continue
        if stride < 0:
            index = np.arange(side, dtype=np.int64)[start:end:step]
            x = node.emit("index_select", x, index, settings={"axis": axis})
        else:
            x = node.emit("slice", x, settings={"axis": axis, "start": first, "end": last, "step": stride})
    return x


def split(node: Node) -> tuple[OnnxValue, ...]:
    """Add a slice per part."""
    x = node.result(0)
    axis = node.attribute("axis", 0) % len(x.shape)
    count, side = len(node.proto.output), x.shape[axis]
    sizes = node.integers(1, "split")
    if sizes is None:
        each = math.ceil(side / count)
        sizes = [min(each, side - each * place) for place in range(count)]
    found, start = [], 0
    for size in sizes:
        found.append(node.emit("slice", x, settings={"axis": axis, "start": start, "end": start + size, "step": 1}))
        start += size
    return tuple(found)


def onnx_pad(node: Node) -> Result:
    """Add a padding of any mode."""
    x, rank = node.result(0), len(node.result(0).shape)
    given = node.integers(1, "pads")
    axes = node.integers(3, "axes", tuple(range(rank)))
    mode = node.attribute("mode", "constant")
    if mode not in _PAD_MODES:
        raise node.refusal(f'mode "{mode}"')
    before, after = [0] * rank, [0] * rank
    for place, axis in enumerate(axes):
        before[axis % rank], after[axis % rank] = given[place], given[place + len(axes)]
    value = node.constant(2)
    filled = node.attribute("value", 0.0) if value is None or value.size == 0 else float(value.reshape(-1)[0])
    for axis in range(rank):  # negative padding crops
        if before[axis] < 0 or after[axis] < 0:
            cut = {"axis": axis, "start": max(0, -before[axis]), "end": x.shape[axis] + min(0, after[axis]), "step": 1}
            x = node.emit("slice", x, settings=cut)
    ends = [max(0, side) for axis in reversed(range(rank)) for side in (before[axis], after[axis])]
    while len(ends) > 2 and ends[-2:] == [0, 0]:
        ends = ends[:-2]
    if not any(ends):
        return x
    return node.emit("pad", x, settings={"pads": ends, "mode": _PAD_MODES[mode], "value": filled})


def onnx_reshape(node: Node) -> Result:
    """Add a reshape that keeps leading axes, such as the batch, at any size."""
    shape = [int(side) for side in node.required(1)]
    x = node.result(0)
    if not node.attribute("allowzero", 0):
        shape = [x.shape[axis] if side == 0 else side for axis, side in enumerate(shape)]
    return reshaped(node, x, shape)


def reshaped(node: Node, x: Result, shape: Sequence[int]) -> Result:
    """Return x reshaped to a shape with at most one -1, for batches of any size."""
    whole = math.prod(x.shape)
    known = math.prod(side for side in shape if side != -1)
    full = [whole // max(1, known) if side == -1 else side for side in shape]
    if tuple(full) == x.shape:
        return x
    kept = 0
    while kept < min(len(full), len(x.shape)) and full[kept] == x.shape[kept]:
        kept += 1
    sides: list[int | str] = ["keep"] * kept + list(full[kept:])
    if kept == 0 and len(sides) > 0:
        sides[0] = -1  # windows or heads that were moved into the batch
    elif len(sides) == kept + 1:
        sides[kept] = -1
    return node.emit("reshape", x, settings={"shape": sides})


def onnx_flatten(node: Node) -> Result:
    """Add a flattening to two axes."""
    x = node.result(0)
    axis = node.attribute("axis", 1)
    axis = axis + len(x.shape) if axis < 0 else axis
    return reshaped(node, x, [math.prod(x.shape[:axis]), math.prod(x.shape[axis:])])


def onnx_transpose(node: Node) -> Result:
    """Add a permutation, or remove the inverse one before it."""
    x, rank = node.result(0), len(node.result(0).shape)
    order = list(node.attribute("perm", tuple(reversed(range(rank)))))
    if order == list(range(rank)):
        return x
    step = node.trace.steps.get(x.name)
    if step is not None and step.kind == "permute":
        before = step.values()["order"]
        if [before[axis] for axis in order] == list(range(rank)):
            return next(
                value for value in node.trace.values.values()
                if isinstance(value, Result) and value.name == step.inputs[0]
            )  # fmt: skip
    return node.emit("permute", x, settings={"order": order})


def onnx_squeeze(node: Node) -> Result:
    """Add the removal of axes of size 1."""
    x = node.result(0)
    axes = node.integers(1, "axes")
    if axes is None:
        axes = [axis for axis, side in enumerate(x.shape) if side == 1]
    return node.emit("squeeze", x, settings={"axes": list(normal_axes(axes, len(x.shape)))})


def unsqueeze(node: Node) -> Result:
    """Add axes of size 1."""
    x = node.result(0)
    axes = node.integers(1, "axes")
    for axis in normal_axes(axes, len(x.shape) + len(axes)):
        x = node.emit("unsqueeze", x, settings={"dim": axis})
    return x


def expand(node: Node) -> Result:
    """Add a broadcast to a shape; unchanged sizes come from the input."""
    x, wanted = node.result(0), [int(side) for side in node.required(1)]
    rank = max(len(wanted), len(x.shape))
    old = [1] * (rank - len(x.shape)) + list(x.shape)
    new = [1] * (rank - len(wanted)) + wanted
    shape = [max(one, other) for one, other in zip(old, new, strict=True)]
    if shape == list(x.shape):
        return x
    extra = rank - len(x.shape)
    sides = [side if axis < extra or side != old[axis] else -1 for axis, side in enumerate(shape)]
    return node.emit("expand", x, settings={"shape": sides})


def tile(node: Node) -> Result:
    """Add repetitions."""
    return node.emit("tile", node.result(0), settings={"repeats": [int(count) for count in node.required(1)]})


def gather(node: Node) -> Result:
    """Add a choice of constant indices along an axis."""
    x, indices = node.result(0), node.required(1)
    axis = node.attribute("axis", 0) % len(x.shape)
    if indices.ndim == 0:
        return node.emit("select", x, settings={"dim": axis, "index": int(indices) % x.shape[axis]})
    flat = np.where(indices < 0, indices + x.shape[axis], indices).reshape(-1).astype(np.int64)
    chosen = node.emit("index_select", x, flat, settings={"axis": axis})
    if indices.ndim == 1:
        return chosen
    return reshaped(node, chosen, [*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]])


def depth_to_space(node: Node) -> Result:
    """Add a rearrangement of channels to pixels."""
    depth_first = node.attribute("mode", "DCR") == "DCR"
    settings = {"block": node.attribute("blocksize"), "depth_first": depth_first}
    return node.emit("depth_to_space", node.result(0), settings=settings)


def space_to_depth(node: Node) -> Result:
    """Add a rearrangement of pixels to channels."""
    return node.emit("space_to_depth", node.result(0), settings={"block": node.attribute("blocksize")})


def einsum(node: Node) -> Result:
    """Add an Einstein sum."""
    given = [value for value in node.inputs if value is not None]
    return node.emit("einsum", *given, settings={"equation": node.attribute("equation")})


SHAPES: dict[str, Callable[[Node], OnnxValue | tuple[OnnxValue, ...]]] = {
    "Concat": concat,
    "Slice": slice_,
    "Split": split,
    "Pad": onnx_pad,
    "Reshape": onnx_reshape,
    "Flatten": onnx_flatten,
    "Transpose": onnx_transpose,
    "Squeeze": onnx_squeeze,
    "Unsqueeze": unsqueeze,
    "Expand": expand,
    "Tile": tile,
    "Gather": gather,
    "DepthToSpace": depth_to_space,
    "SpaceToDepth": space_to_depth,
    "Einsum": einsum,
}
