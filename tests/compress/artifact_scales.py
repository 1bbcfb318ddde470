"""The int8 scales that an artifact's file holds, read with each format's own reader."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Scales:
    """(scale, zero point) of every int8 activation, each once, and the scales (channels,) of every int8 weight."""

    activations: frozenset[tuple[float, int]]
    weights: tuple[np.ndarray, ...]

    def has(self, scale: float, zero_point: int, *, tolerance: float) -> bool:
        """Return whether an activation is stored with this scale and zero point."""
        return any(zero == zero_point and abs(own / scale - 1) < tolerance for own, zero in self.activations)

    def has_weight(self, scales: np.ndarray, *, tolerance: float) -> bool:
        """Return whether a weight is stored with these scales, one a channel."""
        return any(own.shape == scales.shape and np.allclose(own, scales, tolerance, 0) for own in self.weights)


def of_tflite(folder: Path) -> Scales:
    from edgeseg.converters.tflite.flatbuffer import read_model

    model = read_model((folder / "model.tflite").read_bytes())
    stored = [model.stored(index) for index, item in enumerate(model.graph.tensors) if item.type == 9]
    convolutions = [item for item in model.operators if "CONV" in model.op_name(item)]
    return Scales(
        activations=frozenset((item.scale, item.zero_point or 0) for item in stored if item.scale is not None),
        weights=tuple(np.array(model.tensor(item.inputs[1]).quantization.scale) for item in convolutions),
    )


def of_onnx(folder: Path) -> Scales:
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(folder / "model.onnx").graph
    stored = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    pairs = [node.input[1:3] for node in graph.node if node.op_type == "QuantizeLinear"]
    weights = [
        stored[node.input[1]].reshape(-1)
        for node in graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in stored and stored[node.input[0]].dtype == np.int8
    ]
    # ONNX Runtime's fast kernels take uint8: every zero point lies 128 higher.
    activations = ((float(stored[scale]), int(stored[zero]) - 128) for scale, zero in pairs)
    return Scales(activations=frozenset(activations), weights=tuple(weights))


def of_openvino(folder: Path) -> Scales:
    import openvino

    activations, weights = set(), []
    for node in openvino.Core().read_model(folder / "model.xml").get_ops():
        inputs = [item.get_source_output().get_node() for item in node.inputs()]
        if node.get_type_name() == "FakeQuantize":
            low, high = (float(item.get_data().reshape(-1)[0]) for item in inputs[3:5])
            scale = (high - low) / 255
            activations.add((scale, round(-128 - low / scale)))
        elif node.get_type_name() == "Multiply" and inputs[0].get_type_name() == "Convert":
            source = inputs[0].input_value(0).get_node()
            if source.get_element_type() == openvino.Type.i8:
                weights.append(inputs[1].get_data().astype(np.float64).reshape(-1))
    return Scales(activations=frozenset(activations), weights=tuple(weights))


def of_coreml(folder: Path) -> Scales:
    from edgeseg.runtime.engines.mil.package import open_package
    from edgeseg.runtime.engines.mil.values import decode_value

    package = open_package(folder / "model.mlpackage")
    operations = next(iter(package.function.block_specializations.values())).operations
    constants = {item.outputs[0].name: item.attributes["val"] for item in operations if item.type == "const"}

    def value(item: object, name: str) -> object:
        given = item.inputs  # type: ignore[attr-defined]
        # A zero point of 0 is left out.
        return decode_value(constants[given[name].arguments[0].name], package=package) if name in given else 0

    makers = {item.outputs[0].name: item for item in operations}

    def maker(item: object, name: str) -> object:
        return makers[item.inputs[name].arguments[0].name]  # type: ignore[attr-defined]

    def unit(item: object) -> float:
        """Return what a stored scale behind `item` is counted in.

        coremltools divides the three scales around an addition by one of its inputs', so that this becomes 1; what it
        divided by is what the input itself was stored with.
        """
        source = maker(item, "input" if item.type == "quantize" else "x")  # type: ignore[attr-defined]
        if source.type == "relu":  # type: ignore[attr-defined]
            return unit(source)
        if source.type != "add":  # type: ignore[attr-defined]
            return 1.0
        read = maker(source, "x")
        if read.type != "dequantize":  # type: ignore[attr-defined]
            return 1.0
        stored = maker(read, "input")
        return float(value(stored, "scale")) * unit(stored) / float(value(read, "scale"))

    activations, weights = set(), []
    for item in operations:
        if item.type == "quantize":
            shift = 128 if value(item, "output_dtype") == "uint8" else 0
            activations.add((float(value(item, "scale")) * unit(item), int(value(item, "zero_point")) - shift))
        elif item.type == "constexpr_affine_dequantize":
            weights.append(np.asarray(decode_value(item.attributes["scale"], package=package)).reshape(-1))
    return Scales(activations=frozenset(activations), weights=tuple(weights))


def of_executorch(folder: Path) -> Scales:
    from edgeseg.converters.executorch.stored import read_stored

    (graph,) = read_stored((folder / "model.pte").read_bytes()).graphs
    stored = graph.tensors.values()
    return Scales(
        activations=frozenset((item.scales[0], item.zero_point) for item in stored if item.dtype == "int8"),
        weights=tuple(np.array(item.scales) for item in stored if item.dtype == "int8 per channel"),
    )


READERS: dict[str, Callable[[Path], Scales]] = {
    "tflite": of_tflite,
    "onnx": of_onnx,
    "openvino": of_openvino,
    "coreml": of_coreml,
    "executorch": of_executorch,
}
