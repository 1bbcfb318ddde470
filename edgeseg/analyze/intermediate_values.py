"""Every tensor that an artifact's engine computes on the way from an image to its output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeseg.core.requirements import require_modules
from edgeseg.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from edgeseg.core.artifact import Artifact


def intermediate_values(artifact: Artifact, tensor: NDArray[Any]) -> list[NDArray[np.float32]]:
    """Return the float tensors of an artifact for an input tensor, dequantized, in the engine's own layouts.

    Raises:
        UnsupportedError: a format whose engine does not show its intermediate tensors.
        MissingDependency: the library that reads the format is not installed.
    """
    readers: dict[str, Callable[[Artifact, NDArray[Any]], Iterator[NDArray[Any]]]] = {
        "onnx": _onnx,
        "openvino": _openvino,
        "tflite": _tflite,
    }
    reader = readers.get(artifact.manifest.format)
    if reader is None:
        raise UnsupportedError(
            f"{artifact.folder}: intermediate tensors can be read from {', '.join(readers)}; this artifact is "
            f"{artifact.manifest.format}."
        )
    found = (np.asarray(value) for value in reader(artifact, tensor))
    return [value.astype(np.float32) for value in found if value.dtype.kind == "f" and value.size > 1]


def _onnx(artifact: Artifact, tensor: NDArray[Any]) -> Iterator[NDArray[Any]]:
    require_modules(("onnx", "onnxruntime"), what="Reading intermediate tensors", extra="convert-onnx")
    import onnx

    from edgeseg.runtime.engines.onnxruntime import inference_session

    model = onnx.load(artifact.entry)
    shown = {output.name for output in model.graph.output}
    for node in model.graph.node:
        for name in node.output:
            if name and name not in shown:
                model.graph.output.append(onnx.ValueInfoProto(name=name))
    session = inference_session(model.SerializeToString(), threads=1)
    yield from session.run(None, {artifact.manifest.inputs[0].name: tensor})


def _openvino(artifact: Artifact, tensor: NDArray[Any]) -> Iterator[NDArray[Any]]:
    require_modules(("openvino",), what="Reading intermediate tensors", extra="openvino")
    from edgeseg.core.openvino_core import openvino_core

    core = openvino_core()
    model = core.read_model(str(artifact.entry))
    inner = [
        output
        for node in model.get_ordered_ops()
        if node.get_type_name() not in ("Parameter", "Constant", "Result")
        for output in node.outputs()
        if output.get_element_type().is_real()
    ]
    model.add_outputs(inner)
    compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    yield from compiled(tensor).values()


def _tflite(artifact: Artifact, tensor: NDArray[Any]) -> Iterator[NDArray[Any]]:
    require_modules(("ai_edge_litert",), what="Reading intermediate tensors", extra="tflite")
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_path=str(artifact.entry),
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], tensor)
    interpreter.invoke()
    for detail in interpreter.get_tensor_details():
        try:
            value = interpreter.get_tensor(detail["index"])
        except ValueError:  # a temporary tensor that the kernel frees
            continue
        scales, zero_points = (
            detail["quantization_parameters"]["scales"],
            detail["quantization_parameters"]["zero_points"],
        )
        if value.dtype == np.int8 and len(scales) == 1:
            yield (value.astype(np.float32) - np.float32(zero_points[0])) * np.float32(scales[0])
        else:
            yield value
