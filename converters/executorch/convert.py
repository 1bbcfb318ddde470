"""The converter: the exported program through ExecuTorch's edge dialect to XNNPACK, its result read and counted."""

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

    from edgeseg.converters.executorch.census import Census

ENTRY = "model.pte"
MODULES = ("torch", "torchao", "executorch", "flatbuffers")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorchConverter:
    """Produces `model.pte`. There is no fp16: the graph computes in float32, and nothing here makes a half of it."""

    format: str = "executorch"
    engine: str = "executorch"
    extra: str = "executorch"
    precisions: tuple[Precision, ...] = ("fp32", "int8")

    def check(self) -> None:
        """Return if the libraries are there; raises `MissingDependency` with the extra that brings them."""
        require_modules(MODULES, what="Converting to ExecuTorch", extra=self.extra)

    def convert(self, exported: ExportedModel, *, folder: Path) -> Conversion:
        """Write `model.pte` into `folder`.

        int8 takes the program with weights stored as int8: ExecuTorch has no kernel that would quantize weights on a
        device. The image goes in as uint8 and the logits come out as float32 in both precisions.

        Raises:
            ConversionError: ExecuTorch failed, in its own words, or left an int8 net in float.
        """
        from edgeseg.converters.executorch.census import census
        from edgeseg.converters.executorch.lowering import lower
        from edgeseg.converters.executorch.stored import read_stored

        started = time.perf_counter()
        int8 = exported.scheme.name == "int8"
        data = lower(exported.folded_program)
        (folder / ENTRY).write_bytes(data)
        counted = census(read_stored(data), int8=int8)
        if int8 and not counted.quantized:
            raise ConversionError("ExecuTorch left every op in float, although the exported program holds int8 pairs.")
        return Conversion(
            entry=ENTRY,
            input=exported.input,
            output=exported.output,
            scheme=_scheme(exported.scheme, counted),
            report=_report(counted, seconds=time.perf_counter() - started),
        )


def _scheme(scheme: QuantizationScheme, counted: Census) -> QuantizationScheme:
    if scheme.name != "int8":
        return scheme
    return dataclasses.replace(scheme, float_layers=tuple(sorted({item.op for item in counted.fallbacks})))


def _report(counted: Census, *, seconds: float) -> ConversionReport:
    return ConversionReport(
        ops_total=counted.total,
        ops_quantized=counted.quantized,
        fallbacks=counted.fallbacks,
        tool_versions=versions("torch", "torchao", "executorch"),
        seconds=round(seconds, 3),
        peak_memory_mb=peak_memory_mb(),
    )
