"""What a model file says of itself: `TensorInfo`, `FileDescription`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgeseg.core.placement import OpPlacement
from edgeseg.core.quantization import FP16, FP32, INT8, W8, QuantizationScheme
from edgeseg.core.spec import DType

LastOp = Literal["", "softmax", "sigmoid", "argmax"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorInfo:
    """An input or output of a model file; sizes that the file leaves open are None, a rank left open is an empty shape.

    `last_op` says what an output ends with, as far as it matters: softmax, sigmoid or argmax. `dtype` is None for a
    type that cannot hold an image or a label map.
    """

    position: int
    name: str
    shape: tuple[int | None, ...]
    dtype: DType | None
    stored_as: str
    scale: float | None = None
    zero_point: int | None = None
    last_op: LastOp = ""
    color_order: Literal["", "rgb", "bgr"] = ""

    def text(self) -> str:
        """Return "name: 1x3x?x? float32" for messages."""
        sides = "x".join("?" if side is None else str(side) for side in self.shape) or "?"
        return f"{self.name}: {sides} {self.stored_as}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileDescription:
    """A model file: its format, tensors, computing ops and arithmetic.

    `parts` are the files and folders that belong to it, the first of which the engine opens. `engines` run it, best
    first. `tools` are the Python distributions that read it.
    """

    path: Path
    format: str
    title: str
    engines: tuple[str, ...]
    parts: tuple[Path, ...]
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    ops: tuple[OpPlacement, ...]
    scheme: QuantizationScheme
    tools: tuple[str, ...]


def scheme_of(*, weights: set[str], activations: set[str]) -> QuantizationScheme:
    """Return the quantization scheme of a file whose convolutions store and compute in these types."""
    integers = {"int8", "uint8", "int4"}
    if activations & integers:
        kind = "uint8 affine per-tensor" if "uint8" in activations else INT8.activations
        return QuantizationScheme(
            name=INT8.name, mode=INT8.mode, weights=INT8.weights, activations=kind, io_dtype=INT8.io_dtype
        )
    if weights & integers:
        return W8
    return FP16 if "float16" in weights | activations else FP32
