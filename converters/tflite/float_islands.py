"""Ops with poor int8 kernels in LiteRT, moved back to float."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ai_edge_litert import schema_py_generated as schema

if TYPE_CHECKING:
    from edgeseg.converters.tflite.flatbuffer import TFLiteModel

UNFIT_FOR_INT8 = {
    "HARD_SWISH": "LiteRT's int8 kernel for it is several times slower than its float one",
    "LOGISTIC": "LiteRT's int8 kernel has a fixed output scale, 1/256, instead of the calibrated one",
}


def keep_in_float(model: TFLiteModel) -> None:
    """Put a DEQUANTIZE before and a QUANTIZE behind every int8 op of `UNFIT_FOR_INT8`, in place.

    The converter folds dequantize, op, quantize into one int8 op wherever it knows one; the scales stay as they are.
    """
    operators = []
    for operator in model.operators:
        slow = model.op_name(operator) in UNFIT_FOR_INT8
        if slow and model.tensor(operator.inputs[0]).type == schema.TensorType.INT8:
            operators.extend(_island(model, operator))
        else:
            operators.append(operator)
    model.graph.operators = operators


def _island(model: TFLiteModel, operator: Any) -> list[Any]:
    source, target = int(operator.inputs[0]), int(operator.outputs[0])
    before = _float_copy(model, source, suffix=f"float/{target}")
    behind = _float_copy(model, target, suffix="float")
    operator.inputs, operator.outputs = [before], [behind]
    return [
        model.new_operator("DEQUANTIZE", source=source, target=before),
        operator,
        model.new_operator("QUANTIZE", source=behind, target=target),
    ]


def _float_copy(model: TFLiteModel, index: int, *, suffix: str) -> int:
    tensor = model.tensor(index)
    name = tensor.name.decode() if isinstance(tensor.name, bytes) else tensor.name
    return model.add_tensor(tensor, name=f"{name}/{suffix}", dtype=schema.TensorType.FLOAT32)
