"""ONNX ops to steps: one file a family; `LOWERINGS` has them all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeseg.models.from_onnx.ops.activations import ONNX_ACTIVATIONS
from edgeseg.models.from_onnx.ops.convolutions import ONNX_CONVOLUTIONS
from edgeseg.models.from_onnx.ops.elementwise import ONNX_ELEMENTWISE
from edgeseg.models.from_onnx.ops.normalizations import NORMALIZATIONS
from edgeseg.models.from_onnx.ops.pooling import POOLING
from edgeseg.models.from_onnx.ops.reductions import REDUCTIONS
from edgeseg.models.from_onnx.ops.resizing import RESIZING
from edgeseg.models.from_onnx.ops.shapes import SHAPES

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeseg.models.from_onnx.tracing import Node, OnnxValue

LOWERINGS: dict[str, Callable[[Node], OnnxValue | tuple[OnnxValue, ...]]] = {
    **ONNX_ACTIVATIONS,
    **ONNX_CONVOLUTIONS,
    **ONNX_ELEMENTWISE,
    **NORMALIZATIONS,
    **POOLING,
    **REDUCTIONS,
    **RESIZING,
    **SHAPES,
}
"""From an op's name to the function that adds its steps; an op with several results returns a tuple."""
