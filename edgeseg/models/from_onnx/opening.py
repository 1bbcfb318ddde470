"""Opens a float ONNX file with its spec as a net, proven against ONNX Runtime."""

from __future__ import annotations

import dataclasses
import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from edgeseg.core.requirements import require_modules
from edgeseg.core.spec import NetOutput, Preprocess
from edgeseg.errors import ConversionError, GateError, UnsupportedError
from edgeseg.model_files.interpret import FileInput, choose_output, file_input, file_output
from edgeseg.model_files.onnx_file import describe_onnx
from edgeseg.model_files.onnx_reading import read_onnx
from edgeseg.models.from_onnx.importing import import_graph, onnx_check_ops
from edgeseg.models.from_onnx.net import OnnxNet
from edgeseg.models.from_onnx.tail import with_logits

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeseg.core.spec_file import SpecFile

SUFFIX = ".onnx"
FACTORY = f"{OnnxNet.__module__}:{OnnxNet.__qualname__}"
ONNX_LEAST_EQUAL = 0.999
"""Required share of the file's labels, or of its numbers, that the net must reproduce."""
LARGEST_ERROR = 1e-3
"""Largest difference of an output that counts as equal, relative to the largest number in it."""
_STREETS = (2_026, 2_027, 2_028)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedOnnx:
    """The net before its output is adapted, its final spec, and how it compares with the file."""

    net: OnnxNet
    spec: SpecFile
    equal: float
    max_abs_error: float


def is_onnx(model: object) -> bool:
    """Return whether a model is given as an ONNX file."""
    return isinstance(model, (str, Path)) and str(model).lower().endswith(SUFFIX)


def open_onnx(path: str | Path, *, spec: SpecFile, size: tuple[int, int] | None = None) -> OpenedOnnx:
    """Return the net of a float ONNX file, proven to compute what ONNX Runtime does on rendered streets.

    The spec is the same as for `edgeseg adopt`; `size` (height, width) sets a size that the file leaves open. The net
    ends with logits (N, classes, h, w): a final softmax, sigmoid or argmax of the file is removed.

    Raises:
        UnsupportedError: a quantized file, or an op that cannot be imported, named with its node.
        InputError: a spec that contradicts the file.
        GateError: the net does not compute the same as the file.
        MissingDependency: onnx or ONNX Runtime is not installed.
    """
    path = Path(path).expanduser()
    require_modules(("onnx", "onnxruntime"), what="Importing an ONNX file", extra="convert-onnx")
    found = describe_onnx(path)
    given = file_input(found, spec, size=size)
    chosen = choose_output(found, spec, name=None)
    model = read_onnx(path)
    onnx_check_ops(model, output=chosen.name, path=path)
    tensors = _examples(given)
    outputs = _in_onnxruntime(path, [tensor for tensor, _ in tensors], given, output=chosen.name)
    read = file_output(chosen, np.stack(outputs), spec, given=given, where=str(path))
    net = import_graph(
        model,
        image=torch.from_numpy(tensors[0][1]),
        channels_last=given.tensor.layout == "NHWC",
        output=chosen.name,
        path=path,
    )
    equal, error = _compare(net, [pixels for _, pixels in tensors], outputs, where=str(path))
    _log.info("%s: %.4f %% equal to ONNX Runtime, largest difference %.3g", path, 100 * equal, error)
    ended = with_logits(net, read.file, where=str(path))
    said = dataclasses.replace(
        spec,
        size=given.size,
        name=spec.name or path.stem,
        preprocess=_preprocess(given, spec),
        output=NetOutput(one_channel="probability" if ended.probabilities else "logit"),
        arguments={"plan": ended.net.text},
    )
    return OpenedOnnx(net=ended.net, spec=said, equal=equal, max_abs_error=error)


def _preprocess(given: FileInput, spec: SpecFile) -> Preprocess:
    """Return the net's preprocessing: the spec's, or none if the file takes bytes."""
    if not given.preprocess.in_graph:
        return dataclasses.replace(spec.preprocess, in_graph=True)
    return dataclasses.replace(spec.preprocess, scale=1.0, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), in_graph=True)


def _examples(given: FileInput) -> list[tuple[NDArray[Any], NDArray[np.float32]]]:
    """Return rendered streets as the file's own input and as the net's, (1, 3, H, W) float32."""
    from edgeseg.data.streets import render_street
    from edgeseg.pixels import prepare

    if given.tensor.scale is not None:
        raise UnsupportedError("A quantized input cannot be converted to PyTorch. Give the float file.")
    pairs = []
    for seed in _STREETS:
        tensor = prepare(render_street(seed)[0], preprocess=given.preprocess, tensor=given.tensor)
        planes = tensor.transpose(0, 3, 1, 2) if given.tensor.layout == "NHWC" else tensor
        pairs.append((tensor.reshape(given.stored.shape), np.ascontiguousarray(planes, np.float32)))
    return pairs


def _in_onnxruntime(path: Path, tensors: list[NDArray[Any]], given: FileInput, *, output: str) -> list[NDArray[Any]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what it logs as an error, it also raises
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return [np.asarray(session.run([output], {given.stored.name: tensor})[0]) for tensor in tensors]
    except Exception as error:  # noqa: BLE001 - its exceptions share no base class
        raise ConversionError(f"{path}: ONNX Runtime cannot run it: {' '.join(str(error).split())[:300]}") from None


@torch.no_grad()
def _compare(
    net: OnnxNet, images: list[NDArray[np.float32]], outputs: list[NDArray[Any]], *, where: str
) -> tuple[float, float]:
    """Return the share of equal numbers and the largest difference; raises `GateError` if the nets differ."""
    shares, errors = [], []
    for image, wanted in zip(images, outputs, strict=True):
        given = net(torch.from_numpy(image)).numpy()
        if given.shape != wanted.shape:
            raise GateError(f"{where}: PyTorch returns {given.shape}, ONNX Runtime {wanted.shape}.")
        difference = np.abs(given.astype(np.float64) - wanted)
        bound = LARGEST_ERROR * max(1e-12, float(np.abs(wanted).max())) if wanted.dtype.kind == "f" else 0.5
        shares.append(float(np.mean(difference <= bound)))
        errors.append(float(difference.max()))
    equal, error = float(np.mean(shares)), max(errors)
    if equal < ONNX_LEAST_EQUAL or not math.isfinite(error):
        raise GateError(
            f"{where}: in PyTorch {100 * equal:.2f} % of the numbers equal those of ONNX Runtime (largest difference "
            f"{error:.3g}); required: {100 * ONNX_LEAST_EQUAL:.1f} %. Run the file unchanged: edgeseg adopt."
        )
    return equal, error
