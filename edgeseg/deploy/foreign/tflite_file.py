"""A TFLite file as a `FileDescription`, read from its flatbuffer: nothing is run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeseg.core.placement import OpPlacement
from edgeseg.core.requirements import require_modules
from edgeseg.errors import InputError
from edgeseg.model_files.description import FileDescription, LastOp, TensorInfo, scheme_of

if TYPE_CHECKING:
    from pathlib import Path

    from edgeseg.converters.tflite.flatbuffer import TFLiteModel

_LAST: dict[str, LastOp] = {"SOFTMAX": "softmax", "LOGISTIC": "sigmoid", "ARG_MAX": "argmax"}
_PASSED = (
    "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "CAST", "QUANTIZE", "DEQUANTIZE", "RESIZE_BILINEAR",
    "RESIZE_NEAREST_NEIGHBOR",
)  # fmt: skip
_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED")
_PLUMBING = ("QUANTIZE", "DEQUANTIZE", "CAST", "DELEGATE")


def describe_tflite(path: Path) -> FileDescription:
    """Return what a TFLite file says of itself.

    Raises:
        InputError: not a TFLite file, or one that is damaged.
        MissingDependency: the library with TFLite's schema is not installed.
    """
    require_modules(("ai_edge_litert", "flatbuffers"), what="Reading a TFLite file", extra="convert-tflite")
    from edgeseg.converters.tflite.flatbuffer import read_model

    content = path.read_bytes()
    if content[4:8] != b"TFL3":
        raise InputError(f"{path}: not a TFLite file. Export it again.")
    try:
        model = read_model(content)
        return _described(path, model)
    except Exception as error:  # the generated reader follows damaged offsets anywhere
        raise InputError(
            f"{path}: damaged: its flatbuffer cannot be read ({type(error).__name__}). Copy or export it again."
        ) from error


def _described(path: Path, model: TFLiteModel) -> FileDescription:
    makers = {int(index): operator for operator in model.operators for index in operator.outputs}
    computing = [operator for operator in model.operators if model.op_name(operator) not in _PLUMBING]
    weighted = [operator for operator in computing if model.op_name(operator) in _WEIGHTED]
    return FileDescription(
        path=path,
        format="tflite",
        title="TFLite",
        engines=("litert", "tflite-runtime"),
        parts=(path,),
        inputs=tuple(_tensor(model, index, place, {}) for place, index in enumerate(model.graph.inputs)),
        outputs=tuple(_tensor(model, index, place, makers) for place, index in enumerate(model.graph.outputs)),
        ops=tuple(_placement(model, operator) for operator in computing),
        scheme=scheme_of(
            weights={_stored_type(model, operator, makers) for operator in weighted},
            activations={_type(model, operator.outputs[0]) for operator in weighted},
        ),
        tools=("ai-edge-litert",),
    )


def _tensor(model: TFLiteModel, index: int, place: int, makers: dict[int, Any]) -> TensorInfo:
    from edgeseg.converters.tflite.flatbuffer import DTYPES

    tensor = model.tensor(index)
    signature = tensor.shapeSignature if tensor.shapeSignature is not None else tensor.shape
    quantization = tensor.quantization
    scales = None if quantization is None else quantization.scale
    single = scales is not None and len(scales) == 1
    return TensorInfo(
        position=place,
        name=tensor.name.decode() if isinstance(tensor.name, bytes) else str(tensor.name),
        shape=tuple(None if side < 0 else int(side) for side in np.asarray(signature if signature is not None else ())),
        dtype=DTYPES.get(tensor.type),
        stored_as=_type(model, index),
        scale=float(scales[0]) if scales is not None and single else None,
        zero_point=int(quantization.zeroPoint[0]) if single else None,
        last_op=_last_op(model, index, makers),
    )


def _last_op(model: TFLiteModel, index: int, makers: dict[int, Any]) -> LastOp:
    operator = makers.get(int(index))
    while operator is not None and model.op_name(operator) in _PASSED:
        operator = makers.get(int(operator.inputs[0]))
    return "" if operator is None else _LAST.get(model.op_name(operator), "")


def _placement(model: TFLiteModel, operator: Any) -> OpPlacement:
    place = operator.outputs[0] if len(operator.outputs) else operator.inputs[0]
    name = model.tensor(place).name
    kind = _type(model, operator.inputs[0]) if len(operator.inputs) else ""
    return OpPlacement(
        op=model.op_name(operator),
        node=name.decode() if isinstance(name, bytes) else str(name),
        unit="cpu",
        dtype=kind if kind in ("int8", "uint8", "float32", "float16") else "",
    )


def _stored_type(model: TFLiteModel, operator: Any, makers: dict[int, Any]) -> str:
    """Return the type in which an op's weights are stored; half-precision ones are dequantized before they are read."""
    index = int(operator.inputs[1])
    maker = makers.get(index)
    return _type(model, index if maker is None else maker.inputs[0])


def _type(model: TFLiteModel, index: int) -> str:
    from ai_edge_litert import schema_py_generated as schema

    kind = model.tensor(index).type
    return next((name.lower() for name, code in vars(schema.TensorType).items() if code == kind), str(kind))
