"""The converter: the exported program through coremltools, its result checked and described."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING

from edgeseg.core.artifact import ConversionReport
from edgeseg.core.exported import Conversion, ExportedModel
from edgeseg.core.peak_memory import peak_memory_mb
from edgeseg.core.quantization import Precision, QuantizationScheme
from edgeseg.core.requirements import require_modules, versions
from edgeseg.errors import ConversionError

if TYPE_CHECKING:
    from pathlib import Path

    from edgeseg.converters.coreml.census import Census

ENTRY = "model.mlpackage"
MODULES = ("torch", "torchao", "coremltools")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CoreMLConverter:
    """Produces `model.mlpackage`, a folder, for iOS 17, macOS 14 and later."""

    format: str = "coreml"
    engine: str = "coreml"
    extra: str = "coreml"
    precisions: tuple[Precision, ...] = ("fp32", "fp16", "int8")

    def check(self) -> None:
        """Return if the libraries are there; raises `MissingDependency` with the extra that brings them."""
        require_modules(MODULES, what="Converting to Core ML", extra=self.extra)

    def convert(self, exported: ExportedModel, *, folder: Path) -> Conversion:
        """Write `model.mlpackage` into `folder`: an image in, logits (channels first) or labels out.

        int8 is W8A8: weights stored as int8 per channel, quantize/dequantize pairs around the ops, fp16 between pairs.

        Raises:
            ConversionError: coremltools failed, in its own words, or left an int8 net in float.
            UnsupportedError: the graph's input is not an 8-bit image.
        """
        from edgeseg.converters.coreml.census import census
        from edgeseg.converters.coreml.lowering import lower
        from edgeseg.converters.coreml.package import write_package

        started = time.perf_counter()
        int8 = exported.scheme.name == "int8"
        lowered = lower(exported)
        counted = census(write_package(lowered, exported=exported, path=folder / ENTRY))
        if int8 and not counted.quantized:
            raise ConversionError("coremltools left every op in float, although the exported program holds int8 pairs.")
        return Conversion(
            entry=ENTRY,
            input=lowered.input,
            output=lowered.output,
            scheme=_scheme(exported.scheme, counted, io_dtype=lowered.output.dtype),
            report=_report(counted, int8=int8, seconds=time.perf_counter() - started),
        )


def _scheme(scheme: QuantizationScheme, counted: Census, *, io_dtype: str) -> QuantizationScheme:
    kept = tuple(sorted({fallback.op for fallback in counted.fallbacks})) if scheme.name == "int8" else ()
    return dataclasses.replace(scheme, io_dtype=io_dtype, float_layers=kept)


def _report(counted: Census, *, int8: bool, seconds: float) -> ConversionReport:
    return ConversionReport(
        ops_total=counted.total,
        ops_quantized=counted.quantized if int8 else 0,
        fallbacks=counted.fallbacks if int8 else (),
        tool_versions=versions("torch", "torchao", "coremltools", "numpy"),
        seconds=round(seconds, 3),
        peak_memory_mb=peak_memory_mb(),
    )
