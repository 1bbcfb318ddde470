"""The converter: the exported program through ExecuTorch's edge dialect to XNNPACK, its result read and counted."""

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
from edgeseg.errors import ConversionError

if TYPE_CHECKING:
    from pathlib import Path

    from edgeseg.core.placement import OpPlacement

ENTRY = "model.pte"
_MODULES = ("torch", "torchao", "executorch", "flatbuffers")
_TOOLS = ("torch", "torchao", "executorch")
USAGE = """import torch
from executorch.runtime import Runtime

method = Runtime.get().load_program("{entry}").load_method("forward")
output = method.execute([torch.from_numpy(tensor)])[0].numpy()"""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ExecutorchConverter:
    """Produces `model.pte`. There is no fp16: XNNPACK gets the float32 graph, without half-precision weights."""

    format: str = "executorch"
    title: str = "ExecuTorch"
    suffix: str = ".pte"
    engines: tuple[str, ...] = ("executorch",)
    extra: str = "executorch"
    precisions: tuple[Precision, ...] = ("fp32", "int8")
    reads: tuple[Part, ...] = ("folded",)
    normalisation: tuple[Normalisation, ...] = ("graph", "host")
    rules: QuantizationRules = DEFAULT_RULES
    usage: str = USAGE

    def check(self) -> None:
        """Check that the libraries are installed; raises `MissingDependency` with the extra that installs them."""
        require_modules(_MODULES, what="Converting to ExecuTorch", extra=self.extra)

    def convert(self, exported: ExportedModel, *, folder: Path) -> Conversion:
        """Write `model.pte` into `folder`.

        int8 takes the program with weights stored as int8: ExecuTorch has no kernel that quantizes weights on a
        device. The image goes in as uint8 and the logits come out as float32 in both precisions.

        Raises:
            ConversionError: ExecuTorch failed, with its message, or left an int8 net in float.
        """
        from edgeseg.converters.executorch.census import census
        from edgeseg.converters.executorch.lowering import lower
        from edgeseg.converters.executorch.stored import read_stored

        started = time.perf_counter()
        int8 = exported.scheme.needs_ranges
        data = lower(exported.folded_program())
        (folder / ENTRY).write_bytes(data)
        ops = census(read_stored(data), int8=int8)
        if int8 and not any(item.is_quantized for item in ops):
            raise ConversionError("ExecuTorch left every op in float, although the exported program has int8 pairs.")
        return Conversion(
            entry=ENTRY,
            input=exported.input,
            output=exported.output,
            scheme=_scheme(exported.scheme, ops),
            preprocess=exported.preprocess,
            ops=ops,
            provable_by=self.engines,
            report=conversion_report(ops, tools=_TOOLS, started=started),
        )


def _scheme(scheme: QuantizationScheme, ops: tuple[OpPlacement, ...]) -> QuantizationScheme:
    if not scheme.needs_ranges:
        return scheme
    return dataclasses.replace(scheme, float_layers=tuple(sorted({item.op for item in ops if item.reason})))
