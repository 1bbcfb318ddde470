"""Core ML: an `.mlpackage` (ML program) in fp32, fp16 or W8A8 int8, with a picture as its input."""

from __future__ import annotations

import time
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from edgeseg.core.artifact import ConversionReport
from edgeseg.core.exported import Conversion, ExportedModel
from edgeseg.core.quantization import PRECISIONS, Precision, QuantizationScheme
from edgeseg.core.spec import TensorSpec
from edgeseg.errors import ConversionError, MissingDependency

ENTRY = "model.mlpackage"


class CoreMLConverter:
    """Writes `model.mlpackage` for iOS 17, macOS 14 and later; `Converter` of edgeseg.core.protocols."""

    format = "coreml"
    engine = "coreml"
    extra = "coreml"
    precisions: tuple[Precision, ...] = PRECISIONS

    def check(self) -> None:
        """Return if coremltools and torch are here; raises `MissingDependency` naming the extra."""
        missing = [name for name in ("coremltools", "torch", "torchao") if find_spec(name) is None]
        if missing:
            raise MissingDependency(f'{" and ".join(missing)} not installed: pip install "edgeseg[coreml]".')

    def convert(self, exported: ExportedModel, *, folder: Path) -> Conversion:
        """Write the package into `folder`: an image of the model's size in, logits (channels first) or labels out.

        Raises:
            ConversionError: coremltools failed, in its own words, or left an int8 net in float.
            UnsupportedError: the input is not an 8-bit picture.
        """
        from edgeseg.converters.coreml.census import census, peak_memory_mb, tool_versions
        from edgeseg.converters.coreml.lowering import lower
        from edgeseg.converters.coreml.package import write_package

        self.check()
        start = time.perf_counter()
        lowered = lower(exported)
        spec = write_package(lowered, exported=exported, path=folder / ENTRY)
        found = census(spec, int8=exported.scheme.name == "int8")
        if exported.scheme.name == "int8" and not found.quantized:
            raise ConversionError("coremltools left every op in float although the program holds int8 pairs.")
        report = ConversionReport(
            ops_total=found.total,
            ops_quantized=found.quantized,
            fallbacks=found.fallbacks,
            tool_versions=tool_versions(),
            seconds=round(time.perf_counter() - start, 2),
            peak_memory_mb=peak_memory_mb(),
        )
        return Conversion(
            entry=ENTRY,
            input=lowered.input,
            output=lowered.output,
            scheme=_scheme(exported, lowered.output),
            report=report,
        )


def _scheme(exported: ExportedModel, output: TensorSpec) -> QuantizationScheme:
    return replace(exported.scheme, io_dtype=f"uint8 picture in, {output.dtype} {output.role} out")


CONVERTER = CoreMLConverter()
