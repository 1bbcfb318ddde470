"""A Core ML package as a `FileDescription`, read from its protobuf message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from edgeseg.core.placement import OpPlacement
from edgeseg.errors import ArtifactError, InputError
from edgeseg.model_files.description import FileDescription, LastOp, TensorInfo, scheme_of

if TYPE_CHECKING:
    from pathlib import Path

    from edgeseg.core.spec import DType

_LAST: dict[str, LastOp] = {"softmax": "softmax", "sigmoid": "sigmoid", "reduce_argmax": "argmax"}
_PASSED = ("reshape", "squeeze", "expand_dims", "transpose", "cast", "upsample_bilinear", "resize_bilinear")
_PLUMBING = ("const", "cast", "quantize", "dequantize")
# FeatureTypes.proto: ArrayFeatureType.ArrayDataType and ImageFeatureType.ColorSpace.
_ARRAYS: dict[int, DType] = {65568: "float32", 65552: "float16", 131104: "int32", 131080: "int8"}
_COLORS: dict[int, Literal["rgb", "bgr"]] = {20: "rgb", 30: "bgr"}
_MIL_TYPES = {10: "float16", 11: "float32", 21: "int8", 31: "uint8"}


def describe_coreml(path: Path) -> FileDescription:
    """Return what an `.mlpackage` says of itself.

    Raises:
        InputError: not a Core ML package, or a damaged one.
        UnsupportedError: a model that is not an ML program.
        MissingDependency: coremltools is not installed.
    """
    from edgeseg.runtime.engines.mil.package import open_package

    try:
        package = open_package(path)
    except ArtifactError as error:
        raise InputError(str(error)) from None
    function = package.function
    operations = list(function.block_specializations[function.opset].operations)
    makers = {output.name: op for op in operations for output in op.outputs}
    features = package.spec.description
    computing = [op for op in operations if op.type not in _PLUMBING and not op.type.startswith("constexpr")]
    weighted = [op for op in computing if op.type in ("conv", "linear", "conv_transpose")]
    return FileDescription(
        path=path,
        format="coreml",
        title="Core ML",
        engines=("coreml", "mil-reference"),
        parts=(path,),
        inputs=tuple(_tensor(item, place, {}) for place, item in enumerate(features.input)),
        outputs=tuple(_tensor(item, place, makers) for place, item in enumerate(features.output)),
        ops=tuple(
            OpPlacement(op=op.type, node=op.outputs[0].name, unit="coreml", dtype=_computes_in(op, makers))
            for op in computing
        ),
        scheme=scheme_of(
            weights={_weight_type(op, makers) for op in weighted},
            activations={_computes_in(op, makers) for op in weighted},
        ),
        tools=("coremltools",),
    )


def _tensor(feature: Any, place: int, makers: dict[str, Any]) -> TensorInfo:
    kind = feature.type.WhichOneof("Type")
    if kind == "imageType":
        image = feature.type.imageType
        return TensorInfo(
            position=place,
            name=feature.name,
            shape=(1, 3, int(image.height), int(image.width)),
            dtype="uint8",
            stored_as="image",
            color_order=_COLORS.get(image.colorSpace, ""),
        )
    array = feature.type.multiArrayType
    return TensorInfo(
        position=place,
        name=feature.name,
        shape=tuple(int(side) for side in array.shape),
        dtype=_ARRAYS.get(array.dataType) if kind == "multiArrayType" else None,
        stored_as=_ARRAYS.get(array.dataType, str(kind)),
        last_op=_last_op(feature.name, makers),
    )


def _first(op: Any, name: str) -> str:
    return str(op.inputs[name].arguments[0].name) if name in op.inputs else ""


def _last_op(name: str, makers: dict[str, Any]) -> LastOp:
    op = makers.get(name)
    while op is not None and op.type in _PASSED:
        op = makers.get(_first(op, "x"))
    return "" if op is None else _LAST.get(op.type, "")


def _computes_in(op: Any, makers: dict[str, Any]) -> str:
    maker = makers.get(_first(op, "x"))
    if maker is not None and maker.type == "dequantize":
        return "int8"
    return _MIL_TYPES.get(op.outputs[0].type.tensorType.dataType, "")


def _weight_type(op: Any, makers: dict[str, Any]) -> str:
    maker = makers.get(_first(op, "weight"))
    if maker is None:
        return ""
    if maker.type.startswith("constexpr"):
        return "int8"
    return _MIL_TYPES.get(maker.outputs[0].type.tensorType.dataType, "")
