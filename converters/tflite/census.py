"""Which ops of a file run in int8 and which in float, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ai_edge_litert import schema_py_generated as schema

from edgeseg.converters.tflite.flatbuffer import DTYPES
from edgeseg.converters.tflite.float_islands import UNFIT_FOR_INT8
from edgeseg.core.placement import OpPlacement

if TYPE_CHECKING:
    from edgeseg.converters.tflite.flatbuffer import TFLiteModel

_PLUMBING = ("QUANTIZE", "DEQUANTIZE", "CAST")
_DATA_INPUT = {"TRANSPOSE_CONV": 2, "SPLIT": 1}
"""Where the activations stand among the inputs of ops whose first input is a shape or an axis."""
_NOT_PLANNED = "float by plan: it normalises the image or works on a few numbers, or has no int8 kernel"


def census(model: TFLiteModel, *, int8: bool) -> tuple[OpPlacement, ...]:
    """Return the computing ops of a file; with `int8`, those in float have a reason."""
    computing = [operator for operator in model.operators if model.op_name(operator) not in _PLUMBING]
    return tuple(_placement(model, operator, int8=int8) for operator in computing)


def _placement(model: TFLiteModel, operator: Any, *, int8: bool) -> OpPlacement:
    name = model.op_name(operator)
    kind = model.tensor(operator.inputs[_DATA_INPUT.get(name, 0)]).type
    in_float = kind != schema.TensorType.INT8
    return OpPlacement(
        op=name,
        node=model.name_of(operator.outputs[0]),
        unit="cpu",
        # Indices and shapes are integers too; only int8 counts as quantized.
        dtype=DTYPES.get(kind, "") if kind in (schema.TensorType.INT8, schema.TensorType.FLOAT32) else "",
        reason=UNFIT_FOR_INT8.get(name, _NOT_PLANNED) if in_float and int8 else "",
    )
