"""Weights in float16, widened to float32 when the interpreter opens the file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

if TYPE_CHECKING:
    from edgeseg.converters.tflite.flatbuffer import TFLiteModel

_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")


def halve_weights(model: TFLiteModel) -> None:
    """Store every convolution's float32 weights as float16 behind a DEQUANTIZE, in place; biases stay float32.

    LiteRT widens such constants once, so that float32 kernels run at their usual speed; delegates that compute in half
    precision use them directly.
    """
    operators: list[Any] = []
    for operator in model.operators:
        if model.op_name(operator) in _WEIGHTED:
            # Right before its reader: a block of them in front would be cut off from the readers by the first op that
            # XNNPACK does not take, and their weights would count as computed.
            operators.extend(_widening(model, index) for index in _float_constants(model, operator))
        operators.append(operator)
    model.graph.operators = operators


def _float_constants(model: TFLiteModel, operator: Any) -> list[int]:
    indices = (int(index) for index in operator.inputs[:2])
    float32 = schema.TensorType.FLOAT32
    return [index for index in indices if model.data(index) is not None and model.tensor(index).type == float32]


def _widening(model: TFLiteModel, index: int) -> Any:
    return model.new_operator("DEQUANTIZE", source=_stored_half(model, index), target=index)


def _stored_half(model: TFLiteModel, index: int) -> int:
    """Move a constant's values into a new float16 tensor, leave the old one as its widened copy, return the new one."""
    tensor, data = model.tensor(index), model.data(index)
    assert data is not None
    limits = np.finfo(np.float16)
    halves = np.clip(data.view(np.float32), limits.min, limits.max).astype(np.float16)
    name = tensor.name.decode() if isinstance(tensor.name, bytes) else tensor.name
    stored = model.add_tensor(tensor, name=f"{name}/float16", dtype=schema.TensorType.FLOAT16, data=halves)
    model.tree.buffers[tensor.buffer].data = None
    tensor.buffer = 0
    return stored
