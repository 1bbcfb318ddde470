"""Small foreign model files for tests: other people's layouts, types and outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from contracts import tiny_artifact as tiny

from edgeseg.core.file_io import FileRules
from edgeseg.core.spec import Preprocess
from edgeseg.core.spec_file import SpecFile

if TYPE_CHECKING:
    from pathlib import Path

PIXELS = Preprocess(scale=1.0, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
"""For files that take pixel values as floats."""


def spec(*, size: tuple[int, int] = tiny.SIZE, preprocess: Preprocess = PIXELS, file: FileRules | None = None,
         classes: tuple[str, ...] = tiny.CLASSES) -> SpecFile:  # fmt: skip
    """Return the spec of a tiny file."""
    return SpecFile(
        schema=1, name="theirs", classes=classes, size=size, preprocess=preprocess, file=file or FileRules(),
        licence="MIT",
    )  # fmt: skip


def write_dynamic_onnx(path: Path) -> None:
    """Write the tiny net as others export: float NCHW of any size in, softmax, an extra output before it."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    kernel, bias = tiny.weights()
    nodes = [
        helper.make_node("Conv", ["pixels", "kernel", "bias"], ["aux"], strides=[tiny.STRIDE] * 2, name="/head/Conv"),
        helper.make_node("Softmax", ["aux"], ["shares"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "theirs",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", 3, "height", "width"])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4, "h", "w"]) for name in ("aux", "shares")],
        [
            numpy_helper.from_array(np.ascontiguousarray(kernel.transpose(0, 3, 1, 2)), "kernel"),
            numpy_helper.from_array(bias, "bias"),
        ],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
