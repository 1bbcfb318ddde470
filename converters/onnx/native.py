"""ONNX Runtime's own post-training quantizer, for comparison: `edgeseg convert --calibrator native`."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeseg.converters.native_calibration import calibration_tensors, calibrator_version, quiet_quantizer
from edgeseg.converters.onnx.convert import ENTRY, TOOLS, OnnxConverter
from edgeseg.core.conversion_report import conversion_report
from edgeseg.core.quantization import INT8, Precision

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from edgeseg.core.exported import Conversion, ExportedModel, Part


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NativeOnnxConverter(OnnxConverter):
    """Makes int8 of the float ONNX file with ONNX Runtime's static quantization."""

    precisions: tuple[Precision, ...] = ("int8",)
    reads: tuple[Part, ...] = ("onnx", "calibration")

    def convert(self, exported: ExportedModel, *, folder: Path) -> Conversion:
        """Write `model.onnx` of the float graph `exported`, quantized on its calibration images, into `folder`.

        Raises:
            ConversionError: ONNX Runtime's quantizer fails, or there are no calibration images.
        """
        from edgeseg.converters.onnx.executed import executed_graph

        started = time.perf_counter()
        tensors = calibration_tensors(exported)
        with tempfile.TemporaryDirectory(prefix="edgeseg-") as work:
            whole = OnnxConverter.convert(self, exported, folder=Path(work))
            quantize_statically(Path(work) / ENTRY, folder / ENTRY, tensors)
        ops = executed_graph(folder / ENTRY, int8=True)
        report = conversion_report(ops, tools=TOOLS, started=started, calibrator=calibrator_version("onnxruntime"))
        scheme = dataclasses.replace(INT8, activations="uint8 affine per-tensor")
        return dataclasses.replace(whole, scheme=scheme, ops=ops, report=report)


ORT_QUANTIZER = NativeOnnxConverter()


def quantize_statically(source: Path, target: Path, tensors: Iterable[NDArray[Any]]) -> None:
    """Write the int8 of a float ONNX file by ONNX Runtime's static quantization, on input tensors.

    QDQ with uint8 activations, int8 weights per channel and min-max ranges, its defaults for x86.

    Raises:
        ConversionError: the quantizer fails; with its message.
    """
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    name = onnx.load(source, load_external_data=False).graph.input[0].name

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]  # onnxruntime is untyped
        def __init__(self) -> None:
            self._tensors: Iterator[NDArray[Any]] = iter(tensors)

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            tensor = next(self._tensors, None)
            return None if tensor is None else {name: tensor}

    with tempfile.TemporaryDirectory(prefix="edgeseg-") as work, quiet_quantizer("ONNX Runtime's quantizer"):
        prepared = Path(work) / "prepared.onnx"
        quant_pre_process(str(source), str(prepared))
        quantization.quantize_static(
            str(prepared),
            str(target),
            Reader(),
            quant_format=quantization.QuantFormat.QDQ,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            per_channel=True,
        )
