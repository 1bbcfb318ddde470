"""What became of the ops: how many there are, how many compute in int8, which stayed in float."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ai_edge_litert import schema_py_generated as schema

from edgeseg.converters.tflite.float_islands import UNFIT_FOR_INT8
from edgeseg.core.artifact import Fallback

if TYPE_CHECKING:
    from edgeseg.converters.tflite.flatbuffer import Model

PLUMBING = ("QUANTIZE", "DEQUANTIZE", "CAST")
NOT_PLANNED = "float by plan: it normalises the image or works on a few numbers, or has no int8 kernel"


@dataclass(frozen=True, slots=True, kw_only=True)
class Census:
    """Ops of a file; `kinds` counts all of them by name, `total` those that compute."""

    total: int
    quantized: int
    kinds: dict[str, int]
    fallbacks: tuple[Fallback, ...]


def census(model: Model, *, int8: bool) -> Census:
    """Return the census of a file; float fallbacks are listed where `int8` was asked for."""
    computing = [operator for operator in model.operators if model.op_name(operator) not in PLUMBING]
    in_float = [operator for operator in computing if not _computes_in_int8(model, operator)]
    return Census(
        total=len(computing),
        quantized=len(computing) - len(in_float),
        kinds=dict(Counter(model.op_name(operator) for operator in model.operators)),
        fallbacks=tuple(_fallback(model, operator) for operator in in_float) if int8 else (),
    )


def _computes_in_int8(model: Model, operator: Any) -> bool:
    return bool(model.tensor(operator.inputs[0]).type == schema.TensorType.INT8)


def _fallback(model: Model, operator: Any) -> Fallback:
    name = model.op_name(operator)
    node = model.stored(operator.outputs[0]).name
    return Fallback(op=name, node=node, reason=UNFIT_FOR_INT8.get(name, NOT_PLANNED))
