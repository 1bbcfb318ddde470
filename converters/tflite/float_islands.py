"""Ops with poor int8 kernels in LiteRT, moved back to float, and int8 sigmoids as TFLite defines them."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

if TYPE_CHECKING:
    from edgeseg.converters.tflite.flatbuffer import TFLiteModel
    from edgeseg.core.quantization_rules import QuantizationRules

UNFIT_FOR_INT8 = {
    "HARD_SWISH": "LiteRT's int8 kernel for it is several times slower than its float one",
    "LOGISTIC": "LiteRT's int8 kernel has a fixed output scale, 1/256, instead of the calibrated one",
}
TFLITE_NAMES = {"hardswish": "HARD_SWISH", "sigmoid": "LOGISTIC"}
"""TFLite's names of the ops that a rule's `float_islands` may name."""
_SIGMOID_SCALE, _SIGMOID_ZERO_POINT = 1.0 / 256.0, -128
"""The only output scale of an int8 LOGISTIC (TFLite's quantization specification)."""


def islands_of(rules: QuantizationRules) -> tuple[str, ...]:
    """Return the TFLite names of the ops that stay in float by a backend's rules."""
    return tuple(TFLITE_NAMES[name] for name in rules.float_islands if name in TFLITE_NAMES)


def keep_in_float(model: TFLiteModel, *, islands: tuple[str, ...] = tuple(UNFIT_FOR_INT8)) -> None:
    """Put a DEQUANTIZE before and a QUANTIZE behind every int8 op of `islands`, in place.

    The converter folds dequantize, op, quantize into one int8 op wherever it knows one; the scales stay as they are. A
    LOGISTIC that stays in int8 gets the output scale that its kernels have, and a QUANTIZE to the calibrated one.
    """
    operators = []
    for operator in model.operators:
        name = model.op_name(operator)
        is_int8 = name in UNFIT_FOR_INT8 and model.tensor(operator.inputs[0]).type == schema.TensorType.INT8
        if is_int8 and name in islands:
            operators.extend(_island(model, operator))
        elif is_int8 and name == "LOGISTIC":
            operators.extend(_rescaled(model, operator))
        else:
            operators.append(operator)
    model.graph.operators = operators


def _island(model: TFLiteModel, operator: Any) -> list[Any]:
    source, target = int(operator.inputs[0]), int(operator.outputs[0])
    before = _copy(model, source, suffix=f"float/{target}")
    behind = _copy(model, target, suffix="float")
    operator.inputs, operator.outputs = [before], [behind]
    return [
        model.new_operator("DEQUANTIZE", source=source, target=before),
        operator,
        model.new_operator("QUANTIZE", source=behind, target=target),
    ]


def _rescaled(model: TFLiteModel, operator: Any) -> list[Any]:
    target = int(operator.outputs[0])
    behind = _copy(model, target, suffix="sigmoid", dtype=schema.TensorType.INT8)
    quantization = copy.copy(model.tensor(target).quantization)
    quantization.scale = np.array([_SIGMOID_SCALE], np.float32)
    quantization.zeroPoint = np.array([_SIGMOID_ZERO_POINT], np.int64)
    model.tensor(behind).quantization = quantization
    operator.outputs = [behind]
    return [operator, model.new_operator("QUANTIZE", source=behind, target=target)]


def _copy(model: TFLiteModel, index: int, *, suffix: str, dtype: int = schema.TensorType.FLOAT32) -> int:
    tensor = model.tensor(index)
    name = tensor.name.decode() if isinstance(tensor.name, bytes) else tensor.name
    return model.add_tensor(tensor, name=f"{name}/{suffix}", dtype=dtype)
