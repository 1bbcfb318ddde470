"""ai-edge-quantizer, for comparison: `edgeseg convert --calibrator native`."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeseg.converters.native_calibration import calibration_tensors, calibrator_version, quiet_quantizer
from edgeseg.converters.tflite.convert import ENTRY, TFLITE_TOOLS, TFLiteConverter, with_stored_scale
from edgeseg.core.conversion_report import conversion_report
from edgeseg.core.quantization import INT8, Precision
from edgeseg.core.requirements import require_modules

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from edgeseg.core.exported import Conversion, ExportedModel, Part


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NativeTFLiteConverter(TFLiteConverter):
    """Makes int8 of the float TFLite file with ai-edge-quantizer's static recipe."""

    precisions: tuple[Precision, ...] = ("int8",)
    reads: tuple[Part, ...] = ("program", "calibration")

    def check(self) -> None:
        """Check that the libraries are installed; raises `MissingDependency` with the extra that installs them."""
        TFLiteConverter.check(self)
        require_modules(("ai_edge_quantizer",), what="TFLite's native calibrator", extra=self.extra)

    def convert(self, exported: ExportedModel, *, folder: Path) -> Conversion:
        """Write `model.tflite` of the float graph `exported`, quantized on its calibration images, into `folder`.

        Raises:
            ConversionError: ai-edge-quantizer fails, or there are no calibration images.
        """
        from edgeseg.converters.tflite.census import census
        from edgeseg.converters.tflite.flatbuffer import read_model
        from edgeseg.converters.tflite.metadata import with_labels

        started = time.perf_counter()
        tensors = calibration_tensors(exported)
        with tempfile.TemporaryDirectory(prefix="edgeseg-") as work:
            whole = TFLiteConverter.convert(self, exported, folder=Path(work))
            quantize_with_ai_edge(Path(work) / ENTRY, folder / ENTRY, tensors)
        content = (folder / ENTRY).read_bytes()
        # The quantizer drops what lies behind the flatbuffer: the archive with the class names.
        (folder / ENTRY).write_bytes(with_labels(content, exported.spec.classes))
        model = read_model(content)
        image, output = model.io()
        ops = census(model, int8=True)
        return dataclasses.replace(
            whole,
            input=with_stored_scale(exported.input, image),
            output=with_stored_scale(exported.output, output),
            scheme=dataclasses.replace(INT8, io_dtype=output.dtype),
            ops=ops,
            report=conversion_report(
                ops,
                tools=(*TFLITE_TOOLS, "ai-edge-quantizer"),
                started=started,
                calibrator=calibrator_version("ai-edge-quantizer"),
            ),
        )


AI_EDGE_QUANTIZER = NativeTFLiteConverter()


def quantize_with_ai_edge(source: Path, target: Path, tensors: Iterable[NDArray[Any]]) -> None:
    """Write ai-edge-quantizer's full-integer int8 (its static recipe) of a float TFLite file, on input tensors.

    Raises:
        ConversionError: the quantizer fails; with its message.
    """
    with quiet_quantizer("ai-edge-quantizer"):
        from ai_edge_quantizer import quantizer, recipe
        from ai_edge_quantizer.utils import tfl_interpreter_utils

        interpreter = tfl_interpreter_utils.create_tfl_interpreter(str(source))
        signature, runner = next(iter(interpreter.get_signature_list().items()))
        name = runner["inputs"][0]
        maker = quantizer.Quantizer(str(source), recipe.static_wi8_ai8())
        ranges = maker.calibrate({signature: [{name: tensor} for tensor in tensors]})
        maker.quantize(ranges).export_model(str(target), overwrite=True)
