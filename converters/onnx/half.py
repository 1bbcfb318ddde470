"""Weights in float16, widened to float32 when the session opens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx

SMALLEST = 64
"""Tensors with fewer elements stay float32: little is saved, and a bias with folded batch norm needs the precision."""


def halve_weights(model: onnx.ModelProto) -> None:
    """Store every float32 tensor of at least `SMALLEST` elements as float16 with a Cast behind it, in place.

    ONNX Runtime folds the Casts when it opens the file, so the graph that runs is the float32 one, at the same speed,
    with weights rounded to 11 bits.
    """
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    casts = []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        if values.size < SMALLEST or np.abs(values).max() > np.finfo(np.float16).max:
            continue
        name = tensor.name
        stored = f"{name}.float16"
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), stored))
        casts.append(helper.make_node("Cast", [stored], [name], name=f"widen.{name}", to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
