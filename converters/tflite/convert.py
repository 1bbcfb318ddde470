"""The converter: the exported program through litert-torch, then adapted to LiteRT in the requested precision."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING

from edgeseg.core.conversion_report import conversion_report
from edgeseg.core.exported import Conversion, ExportedModel, Part
from edgeseg.core.protocols import Normalisation
from edgeseg.core.quantization import Precision, QuantizationScheme
from edgeseg.core.quantization_rules import DEFAULT_RULES, QuantizationRules
from edgeseg.core.requirements import require_modules

if TYPE_CHECKING:
    from pathlib import Path

    from edgeseg.converters.tflite.flatbuffer import TFLiteModel, TFLiteTensor
    from edgeseg.core.placement import OpPlacement
    from edgeseg.core.spec import TensorSpec

ENTRY = "model.tflite"
_MODULES = ("torch", "torchao", "litert_torch", "ai_edge_litert", "flatbuffers")
TFLITE_TOOLS = ("torch", "torchao", "litert-torch", "litert-converter", "ai-edge-litert")
USAGE = """from ai_edge_litert.interpreter import Interpreter

interpreter = Interpreter("{entry}", num_threads=2)  # tflite_runtime.interpreter has the same class
interpreter.allocate_tensors()
interpreter.set_tensor(interpreter.get_input_details()[0]["index"], tensor)
interpreter.invoke()
output = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])"""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TFLiteConverter:
    """Produces `model.tflite`."""

    format: str = "tflite"
    title: str = "TFLite"
    suffix: str = ".tflite"
    engines: tuple[str, ...] = ("litert", "tflite-runtime")
    extra: str = "convert-tflite"
    precisions: tuple[Precision, ...] = ("fp32", "fp16", "int8")
    reads: tuple[Part, ...] = ("program",)
    normalisation: tuple[Normalisation, ...] = ("graph", "host")
    rules: QuantizationRules = DEFAULT_RULES
    usage: str = USAGE

    def check(self) -> None:
        """Check that the libraries are installed; raises `MissingDependency` with the extra that installs them."""
        require_modules(_MODULES, what="Converting to TFLite", extra=self.extra)

    def convert(self, exported: ExportedModel, *, folder: Path) -> Conversion:
        """Write `model.tflite` into `folder`.

        fp16 stores weights as float16 behind DEQUANTIZE ops that LiteRT runs once, when the model opens. int8 gives
        the logits as int8 with their scale: nothing is lost, and the engine copies a quarter of the bytes. It takes the
        image the same way where the host normalises.

        Raises:
            ConversionError: litert-torch failed, with its message.
        """
        from edgeseg.converters.tflite.census import census
        from edgeseg.converters.tflite.flatbuffer import read_model, write_model
        from edgeseg.converters.tflite.lowering import lower
        from edgeseg.converters.tflite.metadata import describe, with_labels

        started = time.perf_counter()
        int8 = exported.scheme.needs_ranges
        model = read_model(lower(exported.program(), shape=exported.input.shape, int8=int8, dtype=exported.input.dtype))
        _fit(model, exported)
        describe(model, exported)
        (folder / ENTRY).write_bytes(with_labels(write_model(model), exported.spec.classes))
        image, output = model.io()
        ops = census(model, int8=int8)
        return Conversion(
            entry=ENTRY,
            input=with_stored_scale(exported.input, image),
            output=with_stored_scale(exported.output, output),
            scheme=_scheme(exported.scheme, ops, io_dtype=output.dtype),
            preprocess=exported.preprocess,
            ops=ops,
            provable_by=self.engines,
            report=conversion_report(ops, tools=TFLITE_TOOLS, started=started),
        )


def _fit(model: TFLiteModel, exported: ExportedModel) -> None:
    from edgeseg.converters.tflite.float_islands import islands_of, keep_in_float
    from edgeseg.converters.tflite.half import halve_weights

    if exported.scheme.mode == "fp16":
        halve_weights(model)
    if exported.scheme.needs_ranges:
        keep_in_float(model, islands=islands_of(exported.rules))
    model.name_io(image=exported.input.name, output=exported.output.name)


def with_stored_scale(tensor: TensorSpec, stored: TFLiteTensor) -> TensorSpec:
    """Return a tensor's description with type, scale and zero point as the file stores them."""
    return dataclasses.replace(tensor, dtype=stored.dtype, scale=stored.scale, zero_point=stored.zero_point)


def _scheme(scheme: QuantizationScheme, ops: tuple[OpPlacement, ...], *, io_dtype: str) -> QuantizationScheme:
    if scheme.mode == "fp16":
        return dataclasses.replace(scheme, activations="float32")
    if scheme.needs_ranges:
        kept = tuple(sorted({item.op for item in ops if item.reason}))
        return dataclasses.replace(scheme, io_dtype=io_dtype, float_layers=kept)
    return scheme
