"""Files with one layer each, for timing: ONNX (ONNX Runtime, OpenVINO) and TFLite (LiteRT)."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from edgeseg.core.requirements import require_modules
from edgeseg.core.silence import quiet_loggers
from edgeseg.export.onnx_file import OPSET

if TYPE_CHECKING:
    from pathlib import Path

    import onnx

    from edgeseg.core.latency import LayerShape
    from edgeseg.core.protocols import LayerFormat

IR_VERSION = 10
# Widths that are unlikely to occur elsewhere in a layer's file, so that they can be found and replaced.
MARKED_INPUTS, MARKED_OUTPUTS = 1009, 1013


class LayerFiles:
    """Writes layers in the format that an engine times; a TFLite layer is converted once for all of its widths."""

    def __init__(self, folder: Path, *, file_format: LayerFormat) -> None:
        self._folder, self._is_tflite = folder, file_format == "tflite"
        self._lowered: dict[LayerShape, bytes] = {}

    def write(self, shape: LayerShape) -> tuple[Path, np.ndarray]:
        """Write a layer with random weights and return its file and an input tensor of random numbers."""
        rng = np.random.default_rng(0)
        if self._is_tflite:
            path = self._folder / "layer.tflite"
            path.write_bytes(self._tflite(shape))
            return path, rng.standard_normal((1, *shape.cells, shape.inputs), np.float32)
        path = self._folder / "layer.onnx"
        path.write_bytes(_onnx_layer(shape, rng).SerializeToString())
        return path, rng.standard_normal((1, shape.inputs, *shape.cells), np.float32)

    def _tflite(self, shape: LayerShape) -> bytes:
        marked = _marked(shape)
        if marked not in self._lowered:
            self._lowered[marked] = _lower(marked)
        return _with_widths(self._lowered[marked], marked=marked, shape=shape)


def _onnx_layer(shape: LayerShape, rng: np.random.Generator) -> onnx.ModelProto:
    require_modules(("onnx",), what="Timing layers", extra="convert-onnx")
    from onnx import TensorProto, helper, numpy_helper

    weight = rng.standard_normal((shape.outputs, shape.inputs // shape.groups, *shape.kernel), np.float32)
    bias = rng.standard_normal(shape.outputs, np.float32)
    pads = _padding(shape)
    last = "y" if not shape.activation else "sum"
    nodes = [
        helper.make_node(
            "Conv", ["x", "w", "b"], [last], kernel_shape=shape.kernel, strides=shape.stride, dilations=shape.dilation,
            group=shape.groups, pads=(*pads, *pads),
        )
    ]  # fmt: skip
    nodes += _onnx_activation(shape.activation)
    return helper.make_model(
        helper.make_graph(
            nodes,
            "layer",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, shape.inputs, *shape.cells))],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, shape.outputs, *shape.out_cells))],
            [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")],
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )


def _onnx_activation(name: str) -> list[onnx.NodeProto]:
    from onnx import helper

    if name == "Hardswish":  # as the exporter writes it
        return [
            helper.make_node("HardSigmoid", ["sum"], ["gate"], alpha=1 / 6, beta=0.5),
            helper.make_node("Mul", ["sum", "gate"], ["y"]),
        ]
    if name == "Hardsigmoid":
        return [helper.make_node("HardSigmoid", ["sum"], ["y"], alpha=1 / 6, beta=0.5)]
    if name == "SiLU":
        return [helper.make_node("Sigmoid", ["sum"], ["gate"]), helper.make_node("Mul", ["sum", "gate"], ["y"])]
    plain = {"": [], "ReLU": ["Relu"], "ReLU6": ["Relu"], "Sigmoid": ["Sigmoid"]}[name]
    return [helper.make_node(op, ["sum"], ["y"]) for op in plain]


def _padding(shape: LayerShape) -> tuple[int, int]:
    return shape.dilation[0] * (shape.kernel[0] - 1) // 2, shape.dilation[1] * (shape.kernel[1] - 1) // 2


def _marked(shape: LayerShape) -> LayerShape:
    if shape.is_depthwise:
        return dataclasses.replace(shape, inputs=MARKED_INPUTS, outputs=MARKED_INPUTS, groups=MARKED_INPUTS)
    return dataclasses.replace(shape, inputs=MARKED_INPUTS, outputs=MARKED_OUTPUTS)


def _lower(shape: LayerShape) -> bytes:
    """Return the TFLite file of a layer, channels last."""
    import torch
    from torch import nn

    from edgeseg.converters.tflite.lowering import lower

    class Layer(nn.Module):
        """One layer between channels-last tensors."""

        def __init__(self) -> None:
            super().__init__()
            layers: list[nn.Module] = [
                nn.Conv2d(
                    shape.inputs,
                    shape.outputs,
                    shape.kernel,
                    shape.stride,
                    _padding(shape),
                    shape.dilation,
                    shape.groups,
                )
            ]
            if shape.activation:
                layers.append(getattr(nn, shape.activation)())
            self.layers = nn.Sequential(*layers)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            """Return (1, h, w, O) from x (1, H, W, I)."""
            result: torch.Tensor = self.layers(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
            return result

    size = (1, *shape.cells, shape.inputs)
    with torch.no_grad(), quiet_loggers("torchao", "torch.utils._pytree"):
        program = torch.export.export(Layer().eval(), (torch.zeros(size),))
        return lower(program, shape=size, int8=False, dtype="float32")


def _with_widths(content: bytes, *, marked: LayerShape, shape: LayerShape) -> bytes:
    """Return a lowered layer's file with the marked widths replaced, and random constants of the new sizes."""
    from edgeseg.converters.tflite.flatbuffer import read_model, write_model

    widths = {marked.inputs: shape.inputs, marked.outputs: shape.outputs}
    model, rng = read_model(content), np.random.default_rng(0)
    for index, tensor in enumerate(model.graph.tensors):
        before = [int(size) for size in tensor.shape] if tensor.shape is not None else []
        after = [widths.get(size, size) for size in before]
        if after == before:
            continue
        tensor.shape = after
        if model.data(index) is not None:
            values = rng.standard_normal(after, np.float32)
            model.tree.buffers[tensor.buffer].data = values.view(np.uint8).reshape(-1)
    return write_model(model)
