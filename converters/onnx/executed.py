"""What ONNX Runtime executes: its own optimized graph, op by op."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.core.placement import OpPlacement
from edgeseg.errors import ConversionError

if TYPE_CHECKING:
    import onnx

_BORDERS = ("QuantizeLinear", "DequantizeLinear")
NORMALISATION = "normalises the image's pixels in float before they are quantized"
NO_KERNEL = "ONNX Runtime has no int8 kernel for it on the CPU"
_REASONS = {
    "HardSigmoid": f"{NO_KERNEL}; part of hard-swish or of a gate",
    "Mul": "part of a float hard-swish, or normalises the image's pixels",
    "Add": NORMALISATION,
    "ReduceMean": NO_KERNEL,
    "ArgMax": "reads the dequantized logits",
    "Cast": NORMALISATION,
    "FusedConv": "its ReLU does not fuse: the output shares a scale whose zero point is not zero",
    "Resize": "ONNX Runtime resizes bilinearly in float",
}
_OTHER = "ONNX Runtime did not fuse it with its quantize/dequantize pairs"


def executed_graph(path: Path, *, int8: bool) -> tuple[OpPlacement, ...]:
    """Return the nodes that ONNX Runtime executes for the file on this machine's CPU.

    With `int8`, those that compute in float have a reason. Quantize and dequantize steps are borders, listed without
    type and reason.

    Raises:
        ConversionError: ONNX Runtime does not load the file; with its message.
    """
    import onnx

    with tempfile.TemporaryDirectory() as folder:
        optimized = Path(folder) / "optimized.onnx"
        _optimize(path, optimized)
        graph = onnx.load(optimized).graph
    integer = _integer_nodes(graph)
    return tuple(_placement(node, in_int8=node.name in integer, int8=int8) for node in graph.node)


def _placement(node: onnx.NodeProto, *, in_int8: bool, int8: bool) -> OpPlacement:
    if node.op_type in _BORDERS:
        return OpPlacement(op=node.op_type, node=node.name, unit="cpu")
    return OpPlacement(
        op=node.op_type,
        node=node.name,
        unit="cpu",
        dtype="uint8" if in_int8 else "float32",
        reason="" if in_int8 or not int8 else _REASONS.get(node.op_type, _OTHER),
    )


def _optimize(path: Path, destination: Path) -> None:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(destination)
    options.intra_op_num_threads = 1
    options.log_severity_level = 3  # it warns that an optimized file is for this machine only, which is the purpose
    try:
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ConversionError(f"{path.name}: ONNX Runtime does not load it: {error}") from error


def _integer_nodes(graph: onnx.GraphProto) -> set[str]:
    """Return the names of the nodes that compute on 8-bit integers: QLinear..., and ops that move such tensors."""
    constants = {tensor.name for tensor in graph.initializer}
    integer_values: set[str] = set()
    names: set[str] = set()
    for node in graph.node:
        data = [value for value in node.input if value and value not in constants]
        moves = bool(data) and data[0] in integer_values and node.op_type not in ("DequantizeLinear", "Cast")
        if node.op_type == "QuantizeLinear":
            integer_values.update(node.output)
        elif moves or node.op_type.startswith(("QLinear", "QGemm")):
            names.add(node.name)
            integer_values.update(node.output)
    return names
