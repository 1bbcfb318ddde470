"""An ONNX file as a `FileDescription`, read from its protobuf message: nothing is run."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from edgeseg.core.placement import OpPlacement
from edgeseg.errors import InputError
from edgeseg.model_files.description import FileDescription, LastOp, TensorInfo, scheme_of
from edgeseg.model_files.onnx_reading import read_onnx

if TYPE_CHECKING:
    from pathlib import Path

    import onnx

    from edgeseg.core.spec import DType

_LAST: dict[str, LastOp] = {
    "Softmax": "softmax", "LogSoftmax": "", "Sigmoid": "sigmoid", "HardSigmoid": "sigmoid", "ArgMax": "argmax"
}  # fmt: skip
_PASSED = (
    "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Cast", "Identity", "Resize", "Upsample", "QuantizeLinear",
    "DequantizeLinear",
)  # fmt: skip
_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger")
_PLUMBING = ("QuantizeLinear", "DequantizeLinear", "Cast", "Constant", "Identity", "Shape")
_DTYPES: dict[int, DType] = {1: "float32", 2: "uint8", 3: "int8", 6: "int32", 7: "int64", 10: "float16"}


def describe_onnx(path: Path) -> FileDescription:
    """Return what an ONNX file says of itself; raises as `read_onnx`."""
    model = read_onnx(path, weights=False)
    graph = model.graph
    stored = {item.name: item for item in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    inputs = [item for item in graph.input if item.name not in stored]
    computing = [node for node in graph.node if node.op_type not in _PLUMBING]
    weighted = [node for node in computing if node.op_type in _WEIGHTED]
    return FileDescription(
        path=path,
        format="onnx",
        title="ONNX",
        engines=("onnxruntime",),
        parts=(path, *_external(path, model)),
        inputs=tuple(_tensor(item, place, {}) for place, item in enumerate(inputs)),
        outputs=tuple(_tensor(item, place, makers) for place, item in enumerate(graph.output)),
        ops=tuple(
            OpPlacement(op=node.op_type, node=node.name or node.output[0], unit="cpu", dtype=_computes_in(node, makers))
            for node in computing
        ),
        scheme=scheme_of(
            weights={_weight_type(node, stored, makers) for node in weighted},
            activations={_computes_in(node, makers) for node in weighted},
        ),
        tools=("onnx",),
    )


def _external(path: Path, model: onnx.ModelProto) -> tuple[Path, ...]:
    """Return the files beside an ONNX file that hold its weights."""
    names = {entry.value for item in model.graph.initializer for entry in item.external_data if entry.key == "location"}
    for name in names:
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name:
            raise InputError(f'{path}: names the file of weights "{name}", which does not lie beside it.')
        if not (path.parent / name).is_file():
            raise InputError(f"{path.parent / name}: the weights of {path.name} are missing.")
    return tuple(path.parent / name for name in sorted(names))


def _tensor(item: Any, place: int, makers: dict[str, Any]) -> TensorInfo:
    import onnx

    kind = item.type.tensor_type
    sides = tuple(side.dim_value if side.HasField("dim_value") else None for side in kind.shape.dim)
    code = kind.elem_type
    return TensorInfo(
        position=place,
        name=item.name,
        shape=tuple(None if side is not None and side < 1 else side for side in sides),
        dtype=_DTYPES.get(code),
        stored_as=_DTYPES.get(code) or onnx.TensorProto.DataType.Name(code).lower(),
        last_op=_last_op(item.name, makers),
    )


def _last_op(name: str, makers: dict[str, Any]) -> LastOp:
    node = makers.get(name)
    while node is not None and node.op_type in _PASSED:
        node = makers.get(node.input[0])
    return "" if node is None else _LAST.get(node.op_type, "")


def _computes_in(node: Any, makers: dict[str, Any]) -> str:
    """Return "int8" for an op between quantize and dequantize nodes, else "float32"."""
    if node.op_type.startswith("QLinear"):
        return "int8"
    maker = makers.get(node.input[0]) if node.input else None
    return "int8" if maker is not None and maker.op_type == "DequantizeLinear" else "float32"


def _weight_type(node: Any, stored: dict[str, Any], makers: dict[str, Any]) -> str:
    # QLinear ops have scale and zero point of the first input before their weights.
    name = node.input[3] if node.op_type.startswith("QLinear") else node.input[1]
    maker = makers.get(name)
    if maker is not None and maker.op_type in ("DequantizeLinear", "Cast", "Identity") and maker.input:
        name = maker.input[0]
    item = stored.get(name)
    return "" if item is None else _DTYPES.get(item.data_type, "")
