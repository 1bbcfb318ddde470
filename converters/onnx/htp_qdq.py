"""Quantize/dequantize pairs as Qualcomm's HTP takes them: uint8 or uint16 activations, int8 weights, int32 biases.

The HTP runs a layer in integers if pairs surround it; weights are symmetric per output channel, biases have the step of
the sums (ONNX Runtime documentation, "QNN Execution Provider"; Qualcomm AI Engine Direct, "HTP backend op support").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeseg.converters.onnx.clean import drop_unused
from edgeseg.converters.onnx.qdq import (
    Editor,
    drop_repeated_pairs,
    pool_by_average,
    quantize_biases,
    separate_zero_points,
    shift_to_uint8,
)

if TYPE_CHECKING:
    import onnx

WIDE_OPSET = 21
"""The first ONNX opset whose QuantizeLinear has 16-bit integers."""
_STEPS_8, _STEPS_16 = 255, 65535
_FUSING = ("Conv", "ConvTranspose", "Gemm", "MatMul", "Add")


def fit_for_htp(model: onnx.ModelProto) -> None:
    """Rewrite the int8 graph in place for 8-bit activations; only the biases change, which are rounded."""
    _fit(model, wide=False)


def fit_for_wide_htp(model: onnx.ModelProto) -> None:
    """Rewrite the int8 graph in place for 16-bit activations: the range of each pair stays, its steps are 257 finer."""
    _fit(model, wide=True)
    for domain in model.opset_import:
        if domain.domain in ("", "ai.onnx"):
            domain.version = max(domain.version, WIDE_OPSET)


def _fit(model: onnx.ModelProto, *, wide: bool) -> None:
    editor = Editor(graph=model.graph).index()
    pool_by_average(editor)
    shift_to_uint8(editor)
    drop_repeated_pairs(editor)
    if wide:
        _widen(editor)
    _surround_rectifiers(editor)
    quantize_biases(editor)
    separate_zero_points(editor)
    drop_unused(model.graph)


def _surround_rectifiers(editor: Editor) -> None:
    """Put a pair between a layer and its ReLU or Clip where the QuantizeLinear behind does not do their work.

    QNN then finds a layer between pairs. With the scale of the pair behind, no value changes: quantizing and cutting
    off at a stored number give the same in either order.
    """
    from onnx import helper

    nodes = []
    for node in editor.graph.node:
        layer = editor.producer.get(node.input[0]) if node.input else None
        readers = [item for item in editor.graph.node if node.output[0] in item.input]
        if (
            node.op_type in ("Relu", "Clip")
            and layer is not None
            and layer.op_type in _FUSING
            and len(readers) == 1
            and readers[0].op_type == "QuantizeLinear"
            and (node.op_type == "Clip" or np.any(editor.values[readers[0].input[2]]))
        ):
            step = list(readers[0].input[1:3])
            stored, real = f"{layer.name}.stored", f"{layer.name}.real"
            nodes.append(helper.make_node("QuantizeLinear", [node.input[0], *step], [stored], name=f"{stored}.pair"))
            nodes.append(helper.make_node("DequantizeLinear", [stored, *step], [real], name=f"{real}.pair"))
            node.input[0] = real
        nodes.append(node)
    del editor.graph.node[:]
    editor.graph.node.extend(nodes)
    editor.index()


def _widen(editor: Editor) -> None:
    """Give every activation 16 bits over the range that its 8 bits span."""
    for node in editor.graph.node:
        is_weight = node.op_type == "DequantizeLinear" and node.input[0] in editor.values
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear") or is_weight:
            continue
        scale, zero_point = (editor.values[name] for name in node.input[1:3])
        finer = _STEPS_16 // _STEPS_8
        wide_scale = (scale.astype(np.float64) / finer).astype(np.float32)
        wide_zero = (zero_point.astype(np.int32) * finer).astype(np.uint16)
        node.input[1] = editor.constant(wide_scale, name=f"{node.name}.scale_16")
        node.input[2] = editor.constant(wide_zero, name=f"{node.name}.zero_point_16")
