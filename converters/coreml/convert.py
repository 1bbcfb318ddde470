"""The converter: the exported program through coremltools, its result checked and described."""

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

ENTRY = "model.mlpackage"
_MODULES = ("torch", "torchao", "coremltools")
_TOOLS = ("torch", "torchao", "coremltools", "numpy")
USAGE = """import coremltools  # predicts on macOS only
from PIL import Image

model = coremltools.models.MLModel("{entry}")
picture = Image.fromarray(np.ascontiguousarray(tensor[0].transpose(1, 2, 0)))
output = model.predict({{"{input}": picture}})["{output}"]"""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CoreMLConverter:
    """Produces `model.mlpackage`, a folder, for iOS 17, macOS 14 and later."""

    format: str = "coreml"
    title: str = "Core ML"
    suffix: str = ".mlpackage"
    engines: tuple[str, ...] = ("coreml", "mil-reference")
    extra: str = "coreml"
    precisions: tuple[Precision, ...] = ("fp32", "fp16", "int8")
    reads: tuple[Part, ...] = ("folded",)
    normalisation: tuple[Normalisation, ...] = ("graph",)
    rules: QuantizationRules = DEFAULT_RULES
    usage: str = USAGE

    def check(self) -> None:
        """Check that the libraries are installed; raises `MissingDependency` with the extra that installs them."""
        require_modules(_MODULES, what="Converting to Core ML", extra=self.extra)

    def convert(self, exported: ExportedModel, *, folder: Path) -> Conversion:
        """Write `model.mlpackage` into `folder`: an image in, logits (channels first) or labels out.

        int8 is W8A8: weights stored as int8 per channel, quantize/dequantize pairs around the ops, fp16 between pairs.

        Raises:
            ConversionError: coremltools failed, with its message, or left an int8 net in float.
            UnsupportedError: the graph's input is not an 8-bit image.
        """
        from edgeseg.converters.coreml.census import census
        from edgeseg.converters.coreml.lowering import lower
        from edgeseg.converters.coreml.package import write_package

        started = time.perf_counter()
        int8 = exported.scheme.needs_ranges
        lowered = lower(exported)
        ops = census(write_package(lowered, exported=exported, path=folder / ENTRY), int8=int8)
        if int8 and not any(item.is_quantized for item in ops):
            raise ConversionError("coremltools left every op in float, although the exported program has int8 pairs.")
        return Conversion(
            entry=ENTRY,
            input=lowered.input,
            output=lowered.output,
            scheme=_scheme(exported.scheme, ops, io_dtype=lowered.output.dtype),
            preprocess=exported.preprocess,
            ops=ops,
            provable_by=self.engines,
            report=conversion_report(ops, tools=_TOOLS, started=started),
        )


def _scheme(scheme: QuantizationScheme, ops: tuple[OpPlacement, ...], *, io_dtype: str) -> QuantizationScheme:
    kept = tuple(sorted({item.op for item in ops if item.reason}))
    return dataclasses.replace(scheme, io_dtype=io_dtype, float_layers=kept)
