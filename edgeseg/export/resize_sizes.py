"""ONNX resizes by output size instead of by factor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx


def resize_by_sizes(model: onnx.ModelProto) -> None:
    """Give every Resize whose output shape is known that shape, in place.

    ONNX stores factors as float32 and rounds input size times factor down: 3 cells times 20 / 3 give 19 cells, not 20,
    and the shapes of the graph no longer match. Sizes are exact, and engines derive the factor from them.
    """
    from onnx import numpy_helper

    graph = model.graph
    shapes = {value.name: _shape(value) for value in (*graph.value_info, *graph.output)}
    for node in graph.node:
        shape = shapes.get(node.output[0], ())
        if node.op_type != "Resize" or len(node.input) < 3 or not node.input[2] or not shape or min(shape) < 1:
            continue
        name = f"{node.output[0]}.sizes"
        graph.initializer.append(numpy_helper.from_array(np.array(shape, np.int64), name))
        del node.input[2:]
        node.input.extend(["", name])


def _shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    return tuple(side.dim_value for side in value.type.tensor_type.shape.dim)
