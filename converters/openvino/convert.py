"""The converter: the exported ONNX file through OpenVINO's own front end to its IR."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING

from edgeseg.core.conversion_report import conversion_report
from edgeseg.core.exported import Conversion, ExportedModel, Part
from edgeseg.core.files import raise_if_disk_full
from edgeseg.core.protocols import Normalisation
from edgeseg.core.quantization import Precision
from edgeseg.core.quantization_rules import DEFAULT_RULES, QuantizationRules
from edgeseg.core.requirements import require_modules
from edgeseg.core.vendor_telemetry import forbid_telemetry
from edgeseg.errors import ConversionError

if TYPE_CHECKING:
    from pathlib import Path

    import openvino

ENTRY = "model.xml"
_MODULES = ("torch", "torchao", "onnx", "onnxscript", "openvino")
_RULES = dataclasses.replace(DEFAULT_RULES, avoid_saturation="if-refused")
OPENVINO_TOOLS = ("torch", "torchao", "onnx", "onnxscript", "openvino")
USAGE = """import openvino

# The default of some CPUs is bfloat16, which changes labels.
compiled = openvino.Core().compile_model("{entry}", "CPU", {{"INFERENCE_PRECISION_HINT": "f32"}})
output = compiled(tensor)[0]"""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class OpenvinoConverter:
    """Produces `model.xml` and `model.bin`."""

    format: str = "openvino"
    title: str = "OpenVINO"
    suffix: str = ".xml"
    engines: tuple[str, ...] = ("openvino",)
    extra: str = "convert-openvino"
    precisions: tuple[Precision, ...] = ("fp32", "fp16", "int8")
    reads: tuple[Part, ...] = ("onnx",)
    normalisation: tuple[Normalisation, ...] = ("graph", "host")
    rules: QuantizationRules = _RULES
    usage: str = USAGE

    def check(self) -> None:
        """Check that the libraries are installed; raises `MissingDependency` with the extra that installs them."""
        require_modules(_MODULES, what="Converting to OpenVINO", extra=self.extra)

    def convert(self, exported: ExportedModel, *, folder: Path) -> Conversion:
        """Write `model.xml` and `model.bin` into `folder`.

        int8 reads the quantize/dequantize pairs of the exported program's ONNX file with `convert_model`: compiling
        that file directly gives wrong results (OpenVINO 2026.4).

        Raises:
            ConversionError: OpenVINO rejects the graph; with its message.
        """
        forbid_telemetry()
        from edgeseg.converters.openvino.executed import executed_graph

        started = time.perf_counter()
        path = folder / ENTRY
        _write(exported, path)
        ops = executed_graph(path, int8=exported.scheme.needs_ranges)
        return Conversion(
            entry=ENTRY,
            files=("model.bin",),
            input=dataclasses.replace(exported.input, name="image"),
            output=dataclasses.replace(exported.output, name=exported.output.role),
            scheme=exported.scheme,
            preprocess=exported.preprocess,
            ops=ops,
            provable_by=self.engines,
            report=conversion_report(ops, tools=OPENVINO_TOOLS, started=started),
        )


def _write(exported: ExportedModel, path: Path) -> None:
    import openvino

    try:
        model = openvino.convert_model(str(exported.onnx))
        _name(model, input_name="image", output_name=exported.output.role)
        _describe(model, exported)
        openvino.save_model(model, str(path), compress_to_fp16=exported.scheme.mode == "fp16")
    except RuntimeError as error:
        raise_if_disk_full(path)  # which OpenVINO calls an "iostream error"
        raise ConversionError(f"{exported.onnx.name}: OpenVINO cannot convert it: {error}") from error


def _name(model: openvino.Model, *, input_name: str, output_name: str) -> None:
    model.inputs[0].get_tensor().set_names({input_name})
    model.outputs[0].get_tensor().set_names({output_name})
    model.set_friendly_name("edgeseg")
    # The front end stores the file's path and the arguments, which do not belong in the model.
    for key in [key for key in model.get_rt_info() if key != "Runtime_version"]:
        del model.rt_info[key]


def _describe(model: openvino.Model, exported: ExportedModel) -> None:
    """Store labels and preprocessing as OpenVINO's Model API reads them, and how edgeseg runs and draws the net."""
    spec, preprocess = exported.spec, exported.preprocess
    facts: dict[str, object] = {
        "model_type": "segmentation",
        "labels": " ".join(name.replace(" ", "_") for name in spec.classes),
        "reverse_input_channels": str(preprocess.color_order == "rgb"),
        "resize_type": "fit_to_window_letterbox" if preprocess.resize == "letterbox" else "standard",
        "palette": " ".join("{:02x}{:02x}{:02x}".format(*colour) for colour in spec.palette),
        "licence": spec.licence,
        # Without the hint the plug-in computes in bfloat16 where the CPU can, and labels change.
        "inference_precision_hint": "f32",
    }
    if not preprocess.in_graph:
        facts["mean_values"] = " ".join(f"{value / preprocess.scale:.9g}" for value in preprocess.mean)
        facts["scale_values"] = " ".join(f"{value / preprocess.scale:.9g}" for value in preprocess.std)
    for key, value in facts.items():
        model.set_rt_info(value, ["model_info", key])
