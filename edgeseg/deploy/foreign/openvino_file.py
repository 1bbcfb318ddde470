"""An OpenVINO IR as a `FileDescription`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeseg.core.placement import OpPlacement
from edgeseg.core.requirements import require_modules
from edgeseg.errors import InputError
from edgeseg.model_files.description import FileDescription, LastOp, TensorInfo, scheme_of

if TYPE_CHECKING:
    from pathlib import Path

    from edgeseg.core.spec import DType

_DTYPES: dict[str, DType] = {
    "f32": "float32", "f16": "float16", "u8": "uint8", "i8": "int8", "i32": "int32", "i64": "int64"
}  # fmt: skip
_LAST: dict[str, LastOp] = {"SoftMax": "softmax", "Softmax": "softmax", "Sigmoid": "sigmoid", "TopK": "argmax"}
_PASSED = ("Reshape", "Squeeze", "Unsqueeze", "Transpose", "Convert", "Interpolate", "FakeQuantize")
_WEIGHTED = ("Convolution", "GroupConvolution", "ConvolutionBackpropData", "MatMul")
_PLUMBING = ("Constant", "Convert", "Parameter", "Result", "FakeQuantize")


def describe_openvino(path: Path) -> FileDescription:
    """Return what an OpenVINO IR (.xml with its .bin) says of itself.

    Raises:
        InputError: not an IR, or one without its .bin file.
        MissingDependency: OpenVINO is not installed.
    """
    require_modules(("openvino",), what="Reading an OpenVINO IR", extra="openvino")
    from edgeseg.core.openvino_core import openvino_core

    weights = path.with_suffix(".bin")
    if not weights.is_file():
        raise InputError(f"{weights}: missing. An OpenVINO IR is two files, {path.name} and {weights.name}.")
    try:
        model = openvino_core().read_model(str(path))
    except RuntimeError as error:
        raise InputError(f"{path}: cannot be read as an OpenVINO IR: {' '.join(str(error).split())[:200]}") from None
    nodes = model.get_ordered_ops()
    weighted = [node for node in nodes if node.get_type_name() in _WEIGHTED]
    return FileDescription(
        path=path,
        format="openvino",
        title="OpenVINO IR",
        engines=("openvino",),
        parts=(path, weights),
        inputs=tuple(_tensor(port, place) for place, port in enumerate(model.inputs)),
        outputs=tuple(_tensor(port, place) for place, port in enumerate(model.outputs)),
        ops=tuple(_placement(node) for node in nodes if node.get_type_name() not in _PLUMBING),
        scheme=scheme_of(
            weights={_weight_type(node) for node in weighted}, activations={_computes_in(node) for node in weighted}
        ),
        tools=("openvino",),
    )


def _tensor(port: Any, place: int) -> TensorInfo:
    shape = port.get_partial_shape()
    kind = port.get_element_type().get_type_name()
    sides = [] if shape.rank.is_dynamic else list(shape)
    node = port.get_node()
    source = node.input_value(0) if node.get_type_name() == "Result" else None
    return TensorInfo(
        position=place,
        name=port.get_any_name() if port.get_names() else node.get_friendly_name(),
        shape=tuple(None if side.is_dynamic else side.get_length() for side in sides),
        dtype=_DTYPES.get(kind),
        stored_as=_DTYPES.get(kind, kind),
        last_op="" if source is None else _last_op(source.get_node()),
    )


def _last_op(node: Any) -> LastOp:
    while node.get_type_name() in _PASSED:
        node = node.input_value(0).get_node()
    return _LAST.get(node.get_type_name(), "")


def _placement(node: Any) -> OpPlacement:
    return OpPlacement(op=node.get_type_name(), node=node.get_friendly_name(), unit="cpu", dtype=_computes_in(node))


def _computes_in(node: Any) -> str:
    if not node.inputs():
        return ""
    source = node.input_value(0).get_node()
    return "int8" if source.get_type_name() == "FakeQuantize" else "float32"


def _weight_type(node: Any) -> str:
    """Return the type in which the constant behind an op's weights is stored."""
    source = node.input_value(1).get_node()
    while source.get_type_name() != "Constant" and source.inputs():
        source = source.input_value(0).get_node()
    return _DTYPES.get(source.get_element_type().get_type_name(), "")
