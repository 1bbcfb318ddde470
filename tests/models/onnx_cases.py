"""Single-node ONNX models, one for each form of each op that segmentation nets use."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

SHAPE = (1, 6, 9, 12)
_RANDOM = np.random.default_rng(11)


def floats(*shape: int) -> np.ndarray:
    """Return normal numbers."""
    return _RANDOM.normal(size=shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    """Return int64 numbers."""
    return np.array(values, np.int64)


@dataclass(frozen=True)
class Case:
    """An op, its inputs after the image ("x" stands for the image once more), attributes, input shape and opset."""

    op: str
    inputs: tuple[Any, ...] = ()
    attributes: dict[str, Any] = field(default_factory=dict)
    shape: tuple[int, ...] = SHAPE
    opset: int = 20
    outputs: int = 1
    first: Any = "x"
    name: str = ""

    def __str__(self) -> str:
        shown = ",".join(f"{key}={value}" for key, value in self.attributes.items())
        return f"{self.op}-{self.opset}({self.name or shown})".replace(" ", "")

    def model(self) -> ModelProto:
        """Return the model; its outputs are y0, y1, ..."""
        names, stored = [], []
        for place, value in enumerate((self.first, *self.inputs)):
            if isinstance(value, str):
                names.append(value)
            elif value is None:
                names.append("")
            else:
                names.append(f"c{place}")
                stored.append(numpy_helper.from_array(np.asarray(value), f"c{place}"))
        outputs = [f"y{place}" for place in range(self.outputs)]
        node = helper.make_node(self.op, names, outputs, name=f"/net/{self.op}", **self.attributes)
        graph = helper.make_graph(
            [node],
            "case",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape)],
            [helper.make_empty_tensor_value_info(name) for name in outputs],
            stored,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)


def resize(*, scales: tuple[float, ...] | None = None, sizes: tuple[int, ...] | None = None, opset: int = 19,
           **attributes: Any) -> Case:  # fmt: skip
    """Return a Resize of the last two axes."""
    given: tuple[Any, ...]
    if sizes is None:
        given = (None, np.array((1, 1, *(scales or ())), np.float32))
    else:
        given = (None, None, ints(1, SHAPE[1], *sizes))
    return Case(
        "Resize", given, attributes, opset=opset, name=f"{scales or sizes},{','.join(map(str, attributes.values()))}"
    )


CONVOLUTIONS = [
    Case("Conv", (floats(4, 6, 3, 3), floats(4)), {"pads": [1, 1, 1, 1]}),
    Case("Conv", (floats(4, 6, 3, 3),), {"strides": [2, 2], "pads": [0, 1, 1, 0]}),
    Case("Conv", (floats(6, 1, 3, 3), floats(6)), {"group": 6, "dilations": [2, 2], "pads": [2, 2, 2, 2]}),
    Case("Conv", (floats(4, 3, 1, 5),), {"group": 2, "auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    Case("Conv", (floats(4, 6, 2, 2),), {"auto_pad": "SAME_LOWER"}),
    Case("Conv", (floats(4, 6, 2, 2),), {"auto_pad": "VALID"}),
    Case(
        "ConvTranspose", (floats(6, 4, 3, 3), floats(4)), {"strides": [2, 2], "pads": [1] * 4, "output_padding": [1, 1]}
    ),
    Case("ConvTranspose", (floats(6, 2, 2, 2),), {"strides": [2, 2], "group": 3}),
    Case("ConvTranspose", (floats(6, 4, 3, 3),), {"strides": [2, 2], "pads": [0, 1, 1, 0]}),
    Case("ConvTranspose", (floats(6, 4, 3, 3),), {"strides": [2, 2], "output_shape": [18, 24]}),
    Case("Gemm", (floats(5, 7), floats(7)), {"alpha": 0.5, "beta": 2.0}, shape=(3, 5)),
    Case("Gemm", (floats(7, 3),), {"transA": 1, "transB": 1}, shape=(3, 5)),
    Case("MatMul", (floats(12, 5),)),
    Case("MatMul", ("x",), shape=(1, 2, 4, 4), name="both"),
    Case("MatMul", ("x",), shape=(1, 6, 4, 5), first=floats(3, 4), name="left"),
    Case("Einsum", ("x",), {"equation": "nchw,ndhw->ncd"}),
]
NORMALIZATIONS = [
    Case("BatchNormalization", (floats(6), floats(6), floats(6), np.abs(floats(6))), {"epsilon": 1e-3}),
    Case("BatchNormalization", (floats(6), floats(6), floats(6), np.abs(floats(6))), opset=9),
    Case("InstanceNormalization", (floats(6), floats(6)), {"epsilon": 1e-4}),
    Case("LayerNormalization", (floats(12), floats(12)), {"axis": -1}),
    Case("LayerNormalization", (floats(6, 9, 12),), {"axis": 1}),
    Case("GroupNormalization", (floats(6), floats(6)), {"num_groups": 3}, opset=21),
]
ACTIVATIONS = [
    *(Case(op) for op in ("Relu", "Sigmoid", "Tanh", "HardSwish", "Mish", "Selu", "Softplus", "Softsign", "Softmax")),
    Case("LeakyRelu", attributes={"alpha": 0.2}),
    Case("Elu", attributes={"alpha": 0.7}),
    Case("Gelu"),
    Case("Gelu", attributes={"approximate": "tanh"}),
    Case("HardSigmoid"),
    Case("HardSigmoid", attributes={"alpha": 1 / 6, "beta": 0.5}),
    Case("Clip", (np.float32(0), np.float32(6)), name="relu6"),
    Case("Clip", (np.float32(-0.5),), name="low"),
    Case("Clip", (None, np.float32(0.5)), name="high"),
    Case("Clip", attributes={"min": 0.0, "max": 3.4028234663852886e38}, opset=9),
    Case("PRelu", (floats(6, 1, 1),)),
    Case("PRelu", (floats(1),), name="one"),
    Case("Softmax", attributes={"axis": 1}),
    Case("Softmax", attributes={"axis": 1}, opset=11, shape=(1, 6, 3, 4)),
    Case("LogSoftmax", attributes={"axis": 1}),
]
ELEMENTWISE = [
    *(Case(op, (floats(6, 1, 1),), name="channel") for op in ("Add", "Sub", "Mul", "Div", "Max", "Min")),
    *(Case(op, (np.float32(1.7),), name="number") for op in ("Add", "Sub", "Mul", "Div")),
    *(Case(op, ("x",), first=np.float32(2), name="first") for op in ("Sub", "Div", "Mul")),
    Case("Pow", (np.float32(2),)),
    Case("Sum", ("x", floats(1, 1, 1, 12))),
    *(Case(op) for op in ("Exp", "Abs", "Neg", "Erf", "Sin", "Cos", "Floor", "Ceil", "Round", "Sign", "Reciprocal")),
    Case("Identity"),
    Case("Dropout"),
    Case("Cast", attributes={"to": TensorProto.FLOAT}),
    Case("Cast", attributes={"to": TensorProto.INT64}),
    *(Case(op, (np.float32(0.1),)) for op in ("Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Equal")),
    Case("Where", ("x", np.float32(0)), first=floats(1, 6, 1, 1) > 0),
]
POOLING = [
    Case("MaxPool", attributes={"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    Case("MaxPool", attributes={"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
    Case("MaxPool", attributes={"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    Case("AveragePool", attributes={"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    Case("AveragePool", attributes={"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}),
    Case("AveragePool", attributes={"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    Case("AveragePool", attributes={"kernel_shape": [2, 2], "pads": [0, 0, 1, 1], "count_include_pad": 1}),
    Case("AveragePool", attributes={"kernel_shape": [9, 12]}),
    Case("GlobalAveragePool"),
    Case("GlobalMaxPool"),
]
REDUCTIONS = [
    Case("ReduceMean", (ints(2, 3),), {"keepdims": 1}),
    Case("ReduceMean", attributes={"axes": [-1], "keepdims": 0}, opset=13),
    Case("ReduceMean"),
    Case("ReduceSum", (ints(1),)),
    Case("ReduceMax", (ints(-1, 1),)),
    Case("ReduceMin", (ints(2),), {"keepdims": 0}),
    Case("ReduceProd", (ints(2, 1),)),
    Case("ReduceL2", (ints(1),)),
    Case("ReduceL1", (ints(1),)),
    Case("ArgMax", attributes={"axis": 1, "keepdims": 0}),
    Case("ArgMax", attributes={"axis": -1}),
    Case("ArgMin", attributes={"axis": 1}),
]
HALF, CORNERS, PLAIN = "half_pixel", "align_corners", "asymmetric"
RESIZING = [
    resize(scales=(2, 2), mode="linear", coordinate_transformation_mode=HALF),
    resize(sizes=(20, 31), mode="linear", coordinate_transformation_mode="pytorch_half_pixel"),
    resize(sizes=(17, 23), mode="linear", coordinate_transformation_mode=CORNERS),
    resize(scales=(1.7, 2.3), mode="linear", coordinate_transformation_mode=HALF),
    resize(scales=(2, 3), mode="linear", coordinate_transformation_mode=PLAIN),
    resize(sizes=(20, 31), mode="cubic", coordinate_transformation_mode=HALF),
    resize(sizes=(20, 31), mode="cubic", coordinate_transformation_mode=HALF, cubic_coeff_a=-0.5),
    resize(sizes=(20, 31), mode="cubic", coordinate_transformation_mode=CORNERS),
    resize(sizes=(20, 31), mode="cubic", coordinate_transformation_mode=PLAIN, exclude_outside=1),
    resize(scales=(2, 2), mode="nearest", coordinate_transformation_mode=PLAIN, nearest_mode="floor"),
    resize(scales=(2, 2), mode="nearest", coordinate_transformation_mode=HALF),
    resize(sizes=(5, 7), mode="nearest", coordinate_transformation_mode=HALF, nearest_mode="ceil"),
    resize(sizes=(20, 31), mode="nearest", coordinate_transformation_mode=PLAIN, nearest_mode="round_prefer_ceil"),
    resize(sizes=(20, 31), mode="nearest", coordinate_transformation_mode=CORNERS),
    resize(sizes=(9, 12), mode="linear"),
    Case("Resize", (np.array((1, 1, 2, 2), np.float32),), {"mode": "nearest"}, opset=10),
    Case("Resize", (None, np.array((2, 2), np.float32)), {"mode": "linear", "axes": [2, 3]}, opset=19),
    Case("Upsample", (np.array((1, 1, 2, 3), np.float32),), {"mode": "nearest"}, opset=9),
    Case("Upsample", (np.array((1, 1, 2, 2), np.float32),), {"mode": "linear"}, opset=9),
]
SHAPES = [
    Case("Concat", ("x", floats(1, 2, 9, 12)), {"axis": 1}),
    Case("Slice", (ints(1, 2), ints(5, -1), ints(1, 2), ints(2, 1))),
    Case("Slice", (ints(-1), ints(-100), ints(3), ints(-1)), name="backwards"),
    Case("Slice", attributes={"starts": [1], "ends": [4], "axes": [1]}, opset=9),
    Case("Split", (ints(2, 4),), {"axis": 1}, outputs=2),
    Case("Split", attributes={"axis": 1, "num_outputs": 3}, outputs=3),
    Case("Split", attributes={"axis": 1, "split": [2, 4]}, outputs=2, opset=11),
    Case("Pad", (ints(0, 0, 1, 2, 0, 0, 3, 0), np.float32(1.5))),
    Case("Pad", (ints(0, 0, 1, 2, 0, 0, 3, 1),), {"mode": "reflect"}),
    Case("Pad", (ints(1, 2, 3, 1), None, ints(2, 3)), {"mode": "edge"}),
    Case("Pad", (ints(0, 0, -1, 2, 0, 0, 3, -2),), name="cut"),
    Case("Pad", attributes={"pads": [0, 1, 0, 0, 0, 1, 0, 0], "value": 2.0}, opset=9),
    Case("Reshape", (ints(0, 0, -1),)),
    Case("Reshape", (ints(1, 2, 3, 9, 12),)),
    Case("Reshape", (ints(6, 108),)),
    Case("Flatten"),
    Case("Flatten", attributes={"axis": -1}),
    Case("Transpose", attributes={"perm": [0, 2, 3, 1]}),
    Case("Squeeze", (ints(0),)),
    Case("Squeeze"),
    Case("Unsqueeze", (ints(0, -1),)),
    Case("Expand", (ints(1, 6, 4, 12),), shape=(1, 6, 1, 12)),
    Case("Tile", (ints(1, 2, 1, 3),)),
    Case("Gather", (ints(3, 0, -1),), {"axis": 1}),
    Case("Gather", (np.int64(2),), {"axis": 1}, name="one"),
    Case("Gather", (np.array([[0, 1], [2, 3]]),), {"axis": 2}, name="grid"),
    Case("DepthToSpace", attributes={"blocksize": 2}, shape=(1, 8, 3, 4)),
    Case("DepthToSpace", attributes={"blocksize": 2, "mode": "CRD"}, shape=(1, 8, 3, 4)),
    Case("SpaceToDepth", attributes={"blocksize": 3}),
]
CASES = [
    *CONVOLUTIONS, *NORMALIZATIONS, *ACTIVATIONS, *ELEMENTWISE, *POOLING, *REDUCTIONS, *RESIZING, *SHAPES
]  # fmt: skip
