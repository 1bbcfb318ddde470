"""What the export room hands to the converters: `ExportedModel`, and what they hand back: `Conversion`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeseg.core.artifact import ConversionReport
from edgeseg.core.quantization import QuantizationScheme
from edgeseg.core.spec import ModelSpec, TensorSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedModel:
    """A deployment graph (preprocessing and head included), ready for any converter.

    `program` is a `torch.export.ExportedProgram` from `input` to `output`, in float or with quantize/dequantize pairs;
    `folded_program` is the same with weights already stored as int8 (equal to `program` in float); `onnx` is the ONNX
    file of `folded_program`.
    `golden_image` is (H, W, 3) uint8 in the model's colour order, `golden_output` the float checkpoint's output for
    it, in the layout of `output`.
    """

    spec: ModelSpec
    scheme: QuantizationScheme
    input: TensorSpec
    output: TensorSpec
    program: object
    folded_program: object
    onnx: Path
    golden_image: np.ndarray
    golden_output: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """What a converter wrote into the folder it was given: the entry that the engine opens, its tensors, the report."""

    entry: str
    input: TensorSpec
    output: TensorSpec
    scheme: QuantizationScheme
    report: ConversionReport
