"""Quantize/dequantize pairs in the form that TensorRT fuses: int8 with zero points 0, weights behind their own pair.

TensorRT's explicit quantization reads a pair on both inputs of a convolution and on both inputs of a residual addition.
It takes symmetric scales only, per channel for weights, and a float bias, which it quantizes itself (NVIDIA, "Working
with Quantized Types", TensorRT documentation).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeseg.converters.onnx.clean import drop_unused
from edgeseg.converters.onnx.qdq import Editor, drop_repeated_pairs, prepend_nodes
from edgeseg.errors import ConversionError

if TYPE_CHECKING:
    import onnx


def fit_for_tensorrt(model: onnx.ModelProto) -> None:
    """Rewrite the quantized graph in place; no value changes.

    Raises:
        ConversionError: a zero point that is not 0, which TensorRT refuses.
    """
    editor = Editor(graph=model.graph).index()
    drop_repeated_pairs(editor)
    _quantize_weights(editor)
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") and np.any(editor.values[node.input[2]]):
            raise ConversionError(f"{node.name}: its zero point is not 0; TensorRT takes symmetric scales only.")
    drop_unused(model.graph)


def _quantize_weights(editor: Editor) -> None:
    """Store int8 weights as the float values that they stand for, with a QuantizeLinear before the DequantizeLinear."""
    from onnx import helper, numpy_helper

    added = []
    for node in editor.graph.node:
        if node.op_type != "DequantizeLinear" or node.input[0] not in editor.values:
            continue
        stored, scale, zero_point = (editor.values[name] for name in node.input[:3])
        if stored.dtype != np.int8:
            continue
        axis = next((attribute.i for attribute in node.attribute if attribute.name == "axis"), 1)
        shape = [-1 if index == axis % stored.ndim else 1 for index in range(stored.ndim)]
        steps = scale.reshape(shape) if scale.size > 1 else scale.reshape(())
        name = f"{node.name}.weight"
        editor.graph.initializer.append(numpy_helper.from_array(stored.astype(np.float32) * steps, name))
        given = [name, node.input[1], node.input[2]]
        quantize = helper.make_node("QuantizeLinear", given, [f"{name}_int8"], name=f"{name}_pair")
        if scale.size > 1:
            quantize.attribute.append(helper.make_attribute("axis", axis))
        added.append(quantize)
        assert zero_point.dtype == np.int8
        node.input[0] = f"{name}_int8"
    prepend_nodes(editor.graph, added)
