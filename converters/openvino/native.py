"""NNCF's post-training quantization, for comparison: `edgeseg convert --calibrator native`."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgeseg.converters.native_calibration import calibration_tensors, calibrator_version, quiet_quantizer
from edgeseg.converters.openvino.convert import ENTRY, OPENVINO_TOOLS, OpenvinoConverter
from edgeseg.core.conversion_report import conversion_report
from edgeseg.core.quantization import INT8, Precision
from edgeseg.core.requirements import require_modules
from edgeseg.core.vendor_telemetry import forbid_telemetry

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from edgeseg.core.exported import Conversion, ExportedModel, Part


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NativeOpenvinoConverter(OpenvinoConverter):
    """Makes int8 of the float IR with NNCF's default preset."""

    precisions: tuple[Precision, ...] = ("int8",)
    reads: tuple[Part, ...] = ("onnx", "calibration")

    def check(self) -> None:
        """Check that the libraries are installed; raises `MissingDependency` with the extra that installs them."""
        OpenvinoConverter.check(self)
        require_modules(("nncf",), what="OpenVINO's native calibrator", extra="nncf")

    def convert(self, exported: ExportedModel, *, folder: Path) -> Conversion:
        """Write `model.xml` and `model.bin` of the float graph `exported`, quantized on its calibration images.

        Raises:
            ConversionError: NNCF fails, or there are no calibration images.
        """
        forbid_telemetry()
        from edgeseg.converters.openvino.executed import executed_graph

        started = time.perf_counter()
        tensors = calibration_tensors(exported)
        with tempfile.TemporaryDirectory(prefix="edgeseg-") as work:
            whole = OpenvinoConverter.convert(self, exported, folder=Path(work))
            quantize_with_nncf(Path(work) / ENTRY, folder / ENTRY, tensors)
        ops = executed_graph(folder / ENTRY, int8=True)
        report = conversion_report(
            ops, tools=(*OPENVINO_TOOLS, "nncf"), started=started, calibrator=calibrator_version("nncf")
        )
        return dataclasses.replace(whole, scheme=INT8, ops=ops, report=report)


NNCF_QUANTIZER = NativeOpenvinoConverter()


def quantize_with_nncf(
    source: Path,
    target: Path,
    tensors: Iterable[NDArray[Any]],
    *,
    preset: Literal["performance", "mixed"] = "performance",
) -> None:
    """Write NNCF's int8 of a float IR, on input tensors; "performance" is its default preset.

    Raises:
        ConversionError: NNCF fails; with its message.
    """
    forbid_telemetry()
    with quiet_quantizer("NNCF"):
        import nncf
        import openvino

        data = list(tensors)
        quantized = nncf.quantize(
            openvino.Core().read_model(source),
            nncf.Dataset(data),
            preset=nncf.QuantizationPreset(preset),
            subset_size=len(data),
        )
        openvino.save_model(quantized, str(target), compress_to_fp16=False)
