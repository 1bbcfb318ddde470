"""ONNX for Qualcomm's HTP: the file that QNN compiles, quantized with our ranges, proven in ONNX Runtime op by op."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING

from edgeseg.converters.onnx.convert import ENTRY, MODULES, TOOLS, described_model, save_model
from edgeseg.converters.onnx.tensorrt import planned_precisions
from edgeseg.core.conversion_report import conversion_report
from edgeseg.core.exported import Conversion, ExportedModel, Part
from edgeseg.core.protocols import Normalisation
from edgeseg.core.quantization import Precision
from edgeseg.core.quantization_rules import DEFAULT_RULES, QuantizationRules
from edgeseg.core.requirements import require_modules

if TYPE_CHECKING:
    from pathlib import Path

_IN_FLOAT = "no pair on its inputs: the HTP computes it in half precision, which v68 does not have"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HtpOnnxConverter:
    """Produces `model.onnx` with uint8 (int8, "a8w8") or uint16 ("a16w8") activations and int8 weights per channel.

    The host normalises the image: the HTP is for quantized values.
    """

    format: str = "htp-onnx"
    title: str = "ONNX for Qualcomm HTP"
    suffix: str = ".onnx"
    engines: tuple[str, ...] = ("onnx-reference",)
    extra: str = "convert-onnx"
    precisions: tuple[Precision, ...] = ("int8", "a16w8")
    reads: tuple[Part, ...] = ("onnx",)
    normalisation: tuple[Normalisation, ...] = ("host",)
    rules: QuantizationRules = DEFAULT_RULES

    def check(self) -> None:
        """Check that the libraries are installed; raises `MissingDependency` with the extra that installs them."""
        require_modules(MODULES, what="Converting to ONNX for Qualcomm HTP", extra=self.extra)

    def convert(self, exported: ExportedModel, *, folder: Path) -> Conversion:
        """Write `model.onnx` into `folder`; the compiler `qnn` makes a context binary of it.

        Raises:
            ConversionError: the result is not valid ONNX.
        """
        from edgeseg.converters.onnx.htp_qdq import fit_for_htp, fit_for_wide_htp

        started = time.perf_counter()
        wide = exported.scheme.activation_bits == 16
        model = described_model(exported, fit=fit_for_wide_htp if wide else fit_for_htp)
        save_model(model, folder / ENTRY)
        dtype = "uint16" if wide else "uint8"
        ops = planned_precisions(model, int8=True, dtype=dtype, in_float=_IN_FLOAT, able=None)
        return Conversion(
            entry=ENTRY,
            input=dataclasses.replace(exported.input, name=model.graph.input[0].name),
            output=dataclasses.replace(exported.output, name=model.graph.output[0].name),
            scheme=dataclasses.replace(exported.scheme, activations=f"{dtype} affine per-tensor"),
            preprocess=exported.preprocess,
            ops=ops,
            provable_by=self.engines,
            report=conversion_report(ops, tools=TOOLS, started=started),
        )
