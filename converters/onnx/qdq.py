"""Quantize/dequantize pairs in the form that ONNX Runtime fuses into integer kernels.

The exported program has int8 activations and float32 biases. ONNX Runtime's x86 kernels want uint8 activations times
int8 per-channel weights, and a convolution is fused only with an int32 bias. Moving a zero point by 128 together with
the stored type changes no real value.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx

from edgeseg.converters.onnx.clean import drop_unused

SHIFT = 128
NORMALISING = ("Transpose", "Add", "Mul", "Cast")
"""The ops between an image's byte and its quantization, last one first."""
_BYTE_TOLERANCE = 0.01
"""Tolerance, in steps, for float32 rounding of a whole number on this path."""
_CONVOLUTIONS = ("Conv", "Gemm")


@dataclass(slots=True)
class Editor:
    """A graph with its constants and producers looked up; constants of equal value are stored once."""

    graph: onnx.GraphProto
    values: dict[str, np.ndarray] = field(default_factory=dict)
    producer: dict[str, onnx.NodeProto] = field(default_factory=dict)
    names: dict[tuple[str, tuple[int, ...], bytes], str] = field(default_factory=dict)

    def index(self) -> Editor:
        """Read the graph's constants and producers, and return the editor."""
        from onnx import numpy_helper

        self.values = {tensor.name: numpy_helper.to_array(tensor) for tensor in self.graph.initializer}
        self.producer = {output: node for node in self.graph.node for output in node.output}
        return self

    def constant(self, value: np.ndarray, *, name: str) -> str:
        """Return the name of an initializer that holds `value`, a new one called `name` unless it exists."""
        from onnx import numpy_helper

        key = (value.dtype.str, value.shape, value.tobytes())
        if key not in self.names:
            self.graph.initializer.append(numpy_helper.from_array(value, name))
            self.values[name] = value
            self.names[key] = name
        return self.names[key]

    def source(self, value: str, op_type: str) -> onnx.NodeProto | None:
        """Return the node that produces `value` if it is an `op_type`."""
        node = self.producer.get(value)
        return node if node is not None and node.op_type == op_type else None


def fit_for_onnxruntime(model: onnx.ModelProto) -> None:
    """Rewrite the quantized graph in place so that ONNX Runtime runs it with integer kernels.

    No real value changes but the biases, which are rounded to the step of their convolution's sums.
    """
    editor = Editor(graph=model.graph).index()
    pool_by_average(editor)
    shift_to_uint8(editor)
    _take_bytes(editor)
    drop_repeated_pairs(editor)
    quantize_biases(editor)
    separate_zero_points(editor)
    drop_unused(model.graph)


def shift_to_uint8(editor: Editor) -> None:
    """Make every activation uint8.

    Weights (constants behind a DequantizeLinear) stay int8; a zero point that both share is split in two.
    """
    for node in editor.graph.node:
        is_weight = node.op_type == "DequantizeLinear" and node.input[0] in editor.values
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear") or is_weight:
            continue
        zero_point = editor.values[node.input[2]]
        if zero_point.dtype == np.int8:
            shifted = (zero_point.astype(np.int16) + SHIFT).astype(np.uint8)
            node.input[2] = editor.constant(shifted, name=f"{node.name}.zero_point")


def _take_bytes(editor: Editor) -> None:
    """Let the first layers read the image's bytes, if normalising and quantizing maps every byte to its own step.

    See `Preprocess.byte_ends`. Nothing is then computed at the image's full size.
    """
    for quantize in [node for node in editor.graph.node if node.op_type == "QuantizeLinear"]:
        chain = _from_image(editor, quantize)
        if chain and _keeps_bytes(editor, quantize, multiply=chain[2], add=chain[1]):
            transpose = chain[0]
            transpose.input[0] = editor.graph.input[0].name
            for reader in editor.graph.node:
                for index, value in enumerate(reader.input):
                    reader.input[index] = transpose.output[0] if value == quantize.output[0] else value
            editor.graph.node.remove(quantize)


def _from_image(editor: Editor, quantize: onnx.NodeProto) -> list[onnx.NodeProto]:
    """Return the nodes that normalise the image, last one first; none if something else is quantized."""
    found: list[onnx.NodeProto] = []
    for op_type in NORMALISING:
        before = editor.source((found or [quantize])[-1].input[0], op_type)
        if before is None:
            return []
        found.append(before)
    return found if found[-1].input[0] == editor.graph.input[0].name else []


def _keeps_bytes(editor: Editor, quantize: onnx.NodeProto, *, multiply: onnx.NodeProto, add: onnx.NodeProto) -> bool:
    """Return whether black and white, and so all values between, map to the steps of their own numbers."""
    factor, offset = (editor.values[node.input[1]].astype(np.float64) for node in (multiply, add))
    scale, zero_point = float(editor.values[quantize.input[1]]), float(editor.values[quantize.input[2]])
    ends = [(byte * factor + offset) / scale + zero_point - byte for byte in (0, 255)]
    return all(bool(np.all(np.abs(end) < _BYTE_TOLERANCE)) for end in ends)


def drop_repeated_pairs(editor: Editor) -> None:
    """Remove a QuantizeLinear that only repeats the pair before it, as when two layers share a tensor's scale."""
    replaced: dict[str, str] = {}
    for node in list(editor.graph.node):
        for index, value in enumerate(node.input):
            node.input[index] = replaced.get(value, value)
        before = editor.source(node.input[0], "DequantizeLinear") if node.op_type == "QuantizeLinear" else None
        if before is not None and _same_step(editor, before, node):
            replaced[node.output[0]] = before.input[0]
            editor.graph.node.remove(node)


def _same_step(editor: Editor, first: onnx.NodeProto, second: onnx.NodeProto) -> bool:
    return all(
        np.array_equal(editor.values[first.input[index]], editor.values[second.input[index]])
        and editor.values[first.input[index]].dtype == editor.values[second.input[index]].dtype
        for index in (1, 2)
    )


def quantize_biases(editor: Editor) -> None:
    """Store float biases as int32 in steps of input scale times weight scale, the step of the integer sums."""
    from onnx import helper

    added = []
    for node in editor.graph.node:
        if node.op_type not in _CONVOLUTIONS or len(node.input) < 3 or node.input[2] not in editor.values:
            continue
        data = editor.source(node.input[0], "DequantizeLinear")
        weights = editor.source(node.input[1], "DequantizeLinear")
        bias = editor.values[node.input[2]]
        if data is None or weights is None or bias.dtype != np.float32:
            continue
        step = (editor.values[data.input[1]] * editor.values[weights.input[1]]).astype(np.float32).reshape(-1)
        step = np.broadcast_to(step, bias.shape).copy()
        limit = float(np.iinfo(np.int32).max)
        stored = np.clip(np.rint(bias.astype(np.float64) / step), -limit, limit).astype(np.int32)
        inputs = [
            editor.constant(stored, name=f"{node.name}.bias"),
            editor.constant(step, name=f"{node.name}.bias_scale"),
            editor.constant(np.zeros_like(stored), name=f"{node.name}.bias_zero_point"),
        ]
        result = f"{node.name}.bias_real"
        added.append(helper.make_node("DequantizeLinear", inputs, [result], name=f"{node.name}.bias_pair", axis=0))
        node.input[2] = result
    prepend_nodes(editor.graph, added)


def separate_zero_points(editor: Editor) -> None:
    """Give every weight a zero point of its own.

    On x86 CPUs without VNNI, ONNX Runtime's uint8 by int8 kernels overflow unless it makes weights uint8 when the
    session opens (`session.x64quantprecision`), and it fails to where weights share a zero point.
    """
    from onnx import numpy_helper

    for node in editor.graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] in editor.values and len(node.input) > 2:
            zero_point = editor.values[node.input[2]]
            if zero_point.dtype == np.int8:
                name = f"{node.name}.weight_zero_point"
                editor.graph.initializer.append(numpy_helper.from_array(zero_point, name))
                node.input[2] = name


def pool_by_average(editor: Editor) -> None:
    """Write means over height and width as GlobalAveragePool, which has an integer kernel; ReduceMean has none."""
    from onnx import helper

    for index, node in enumerate(editor.graph.node):
        if node.op_type != "ReduceMean" or len(node.input) != 2 or node.input[1] not in editor.values:
            continue
        axes = sorted(int(axis) % 4 for axis in editor.values[node.input[1]].reshape(-1))
        keeps = all(attribute.i == 1 for attribute in node.attribute if attribute.name == "keepdims")
        # The graph is (N, C, H, W) inside: only the image and the output have their channels last.
        if axes == [2, 3] and keeps:
            pool = helper.make_node("GlobalAveragePool", [node.input[0]], list(node.output), name=node.name)
            editor.graph.node[index].CopyFrom(pool)


def prepend_nodes(graph: onnx.GraphProto, nodes: list[onnx.NodeProto]) -> None:
    """Put nodes before all others of a graph, in place."""
    rest = [*nodes, *graph.node]
    del graph.node[:]
    graph.node.extend(rest)
