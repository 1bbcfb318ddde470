"""ONNX for TensorRT: the converter. The engine is built from it on the device, by TensorRT's own tools."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING

from edgeseg.converters.onnx.convert import ENTRY, MODULES, TOOLS, described_model, save_model
from edgeseg.core.conversion_report import conversion_report
from edgeseg.core.exported import Conversion, ExportedModel, Part
from edgeseg.core.placement import OpPlacement
from edgeseg.core.protocols import Normalisation
from edgeseg.core.quantization import Precision
from edgeseg.core.quantization_rules import QuantizationRules
from edgeseg.core.requirements import require_modules

if TYPE_CHECKING:
    from pathlib import Path

    import onnx

FORMAT = "tensorrt-onnx"
TENSORRT_RULES = QuantizationRules(
    float_ops=(
        "conv_transpose2d", "leaky_relu", "matmul", "sub", "mul", "mean", "upsample_bilinear2d", "upsample_nearest2d",
    ),
    symmetric_activations=True,
)  # fmt: skip
"""int8 where TensorRT has int8 kernels: convolutions, linear layers, residual additions, pools, concatenations."""
_INT8_OPS = ("Conv", "Gemm", "MatMul", "Add", "AveragePool", "MaxPool", "Concat")
_FUSED = ("Relu", "Clip")
_BORDERS = ("QuantizeLinear", "DequantizeLinear")
_IN_FLOAT = "TensorRT computes it in half or single precision"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TensorRTOnnxConverter:
    """Produces `model.onnx` with symmetric pairs on both inputs of every int8 convolution; fp32 for half precision."""

    format: str = FORMAT
    title: str = "ONNX for TensorRT"
    suffix: str = ".onnx"
    engines: tuple[str, ...] = ("onnx-reference",)
    extra: str = "convert-onnx"
    precisions: tuple[Precision, ...] = ("int8", "fp32")
    reads: tuple[Part, ...] = ("onnx",)
    normalisation: tuple[Normalisation, ...] = ("graph", "host")
    rules: QuantizationRules = TENSORRT_RULES

    def check(self) -> None:
        """Check that the libraries are installed; raises `MissingDependency` with the extra that installs them."""
        require_modules(MODULES, what="Converting to ONNX for TensorRT", extra=self.extra)

    def convert(self, exported: ExportedModel, *, folder: Path) -> Conversion:
        """Write `model.onnx` into `folder`; TensorRT builds its engine from it on the device (`trtexec --onnx`).

        Raises:
            ConversionError: the result is not valid ONNX, or has a zero point that is not 0.
        """
        from edgeseg.converters.onnx.tensorrt_qdq import fit_for_tensorrt

        started = time.perf_counter()
        int8 = exported.scheme.needs_ranges
        model = described_model(exported, fit=fit_for_tensorrt if int8 else None)
        save_model(model, folder / ENTRY)
        ops = planned_precisions(model, int8=int8)
        return Conversion(
            entry=ENTRY,
            input=dataclasses.replace(exported.input, name=model.graph.input[0].name),
            output=dataclasses.replace(exported.output, name=model.graph.output[0].name),
            scheme=exported.scheme,
            preprocess=exported.preprocess,
            ops=ops,
            provable_by=self.engines,
            report=conversion_report(ops, tools=TOOLS, started=started),
        )


def planned_precisions(
    model: onnx.ModelProto,
    *,
    int8: bool,
    dtype: str = "int8",
    in_float: str = _IN_FLOAT,
    able: tuple[str, ...] | None = _INT8_OPS,
) -> tuple[OpPlacement, ...]:
    """Return the graph's ops with the precision that their pairs ask for; the chip's own tool decides the unit.

    `able` names the ops that compute in integers, None for any with pairs; `in_float` is the reason of the others.
    """
    producer = {output: node for node in model.graph.node for output in node.output}
    constants = {tensor.name for tensor in model.graph.initializer}
    ops = []
    in_integers: set[str] = set()
    for node in model.graph.node:
        if node.op_type in _BORDERS:
            continue
        data = [value for value in node.input if value and value not in constants]
        sources = [producer[value].op_type if value in producer else "" for value in data]
        quantized = (
            int8
            and (able is None or node.op_type in able)
            and bool(sources)
            and all(source == "DequantizeLinear" for source in sources)
        )
        if able is None and int8 and len(data) == 1 and node.op_type in _FUSED and data[0] in in_integers:
            quantized = True  # a layer applies it to its own result
        if quantized:
            in_integers.update(node.output)
        ops.append(
            OpPlacement(
                op=node.op_type,
                node=node.name or node.output[0],
                unit="",
                dtype=dtype if quantized else "float32",
                reason="" if quantized or not int8 else in_float,
            )
        )
    return tuple(ops)
