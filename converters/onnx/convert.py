"""The converter: the exported ONNX file, cleaned and adapted to ONNX Runtime in the requested precision."""

from __future__ import annotations

import dataclasses
import json
import time
from typing import TYPE_CHECKING

from edgeseg.core.conversion_report import conversion_report
from edgeseg.core.exported import Conversion, ExportedModel, Part
from edgeseg.core.protocols import Normalisation
from edgeseg.core.quantization import Precision, QuantizationScheme
from edgeseg.core.quantization_rules import DEFAULT_RULES, QuantizationRules
from edgeseg.core.records import encode_record
from edgeseg.core.requirements import require_modules
from edgeseg.errors import ConversionError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import onnx

ENTRY = "model.onnx"
_OPSETS, _IR_VERSIONS = (13, 20), (7, 10)
"""From opset 13 on there are scales per channel, which int8 needs."""
MODULES = ("torch", "torchao", "onnx", "onnxscript", "onnxruntime")
TOOLS = ("torch", "torchao", "onnx", "onnxscript", "onnxruntime")
USAGE = """import onnxruntime

session = onnxruntime.InferenceSession("{entry}", providers=["CPUExecutionProvider"])
output = session.run(["{output}"], {{"{input}": tensor}})[0]"""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class OnnxConverter:
    """Produces `model.onnx`, one file with its weights inside."""

    format: str = "onnx"
    title: str = "ONNX"
    suffix: str = ".onnx"
    engines: tuple[str, ...] = ("onnxruntime",)
    extra: str = "convert-onnx"
    precisions: tuple[Precision, ...] = ("fp32", "fp16", "int8")
    reads: tuple[Part, ...] = ("onnx",)
    normalisation: tuple[Normalisation, ...] = ("graph", "host")
    rules: QuantizationRules = DEFAULT_RULES
    usage: str = USAGE
    opset: int | None = None
    ir_version: int | None = None

    def at_versions(self, *, opset: int | None, ir_version: int | None) -> OnnxConverter:
        """Return the converter that writes an opset and an IR version for an older runtime; None keeps the usual one.

        Raises:
            InputError: a version that cannot be written.
        """
        for name, value, (low, high) in (("opset", opset, _OPSETS), ("IR version", ir_version, _IR_VERSIONS)):
            if value is not None and not low <= value <= high:
                raise InputError(f"ONNX {name} {value}: give {low} to {high}.")
        return dataclasses.replace(self, opset=opset, ir_version=ir_version)

    def check(self) -> None:
        """Check that the libraries are installed; raises `MissingDependency` with the extra that installs them."""
        require_modules(MODULES, what="Converting to ONNX", extra=self.extra)

    def convert(self, exported: ExportedModel, *, folder: Path) -> Conversion:
        """Write `model.onnx` into `folder`.

        fp16 stores the weights as float16 and widens them when the session opens: ONNX Runtime has no float16
        convolution on x86 and would cast around every op. int8 takes the quantize/dequantize pairs of the exported
        program, see `qdq`.

        Raises:
            ConversionError: the result is not valid ONNX, or ONNX Runtime does not load it.
        """
        from edgeseg.converters.onnx.executed import executed_graph
        from edgeseg.converters.onnx.qdq import fit_for_onnxruntime

        started = time.perf_counter()
        fitted = described_model(exported, fit=fit_for_onnxruntime if exported.scheme.needs_ranges else None)
        model = _at_versions(fitted, opset=self.opset, ir_version=self.ir_version)
        path = folder / ENTRY
        save_model(model, path)
        ops = executed_graph(path, int8=exported.scheme.needs_ranges)
        return Conversion(
            entry=ENTRY,
            input=dataclasses.replace(exported.input, name=model.graph.input[0].name),
            output=dataclasses.replace(exported.output, name=model.graph.output[0].name),
            scheme=_scheme(exported.scheme),
            preprocess=exported.preprocess,
            ops=ops,
            provable_by=self.engines,
            report=conversion_report(ops, tools=TOOLS, started=started),
        )


def described_model(exported: ExportedModel, *, fit: Callable[[onnx.ModelProto], None] | None) -> onnx.ModelProto:
    """Return the exported ONNX model, cleaned, made to fit its engine in place by `fit`, with the facts of its spec."""
    import onnx

    from edgeseg.converters.onnx.clean import clean
    from edgeseg.converters.onnx.half import halve_weights

    model = onnx.load(exported.onnx)
    clean(model, input_name="image", output_name=exported.output.role)
    if exported.scheme.mode == "fp16":
        halve_weights(model)
    if fit is not None:
        fit(model)
    _describe(model, exported)
    return model


def _describe(model: onnx.ModelProto, exported: ExportedModel) -> None:
    """Store classes, colours, preprocessing and licence in the file, for apps that read nothing else."""
    spec = exported.spec
    facts = {
        "task": "semantic-segmentation",
        "classes": json.dumps(spec.classes),
        "palette": json.dumps(spec.palette),
        "preprocess": json.dumps(encode_record(exported.preprocess), sort_keys=True),
        "output_stride": str(spec.output_stride),
        "licence": spec.licence,
    }
    _set_properties(model, facts | ({"notice": spec.notice} if spec.notice else {}))


def _at_versions(model: onnx.ModelProto, *, opset: int | None, ir_version: int | None) -> onnx.ModelProto:
    from onnx import version_converter

    if opset is not None:
        properties = {item.key: item.value for item in model.metadata_props}
        try:
            model = version_converter.convert_version(model, opset)
        except (RuntimeError, ValueError) as error:
            raise ConversionError(
                f"The graph has no form in ONNX opset {opset}: {error} Choose a later --opset."
            ) from error
        if not model.metadata_props:
            _set_properties(model, properties)
    if ir_version is not None:
        model.ir_version = ir_version
    return model


def _set_properties(model: onnx.ModelProto, properties: dict[str, str]) -> None:
    import onnx

    onnx.helper.set_model_props(model, properties)


def save_model(model: onnx.ModelProto, path: Path) -> None:
    """Write a checked model; raises `ConversionError` if it is not valid ONNX."""
    import onnx

    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ConversionError(f"{path.name}: the graph is not valid ONNX: {error}") from error
    path.write_bytes(model.SerializeToString(deterministic=True))


def _scheme(scheme: QuantizationScheme) -> QuantizationScheme:
    if scheme.mode == "fp16":
        return dataclasses.replace(scheme, activations="float32")
    if scheme.needs_ranges:
        # A symmetric scale keeps its meaning: the zero point moves to the middle of uint8.
        return dataclasses.replace(scheme, activations=scheme.activations.replace("int8", "uint8", 1))
    return scheme
