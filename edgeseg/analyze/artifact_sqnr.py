"""Signal to noise inside an int8 artifact, as its engine computes it, against the float net."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeseg.core.requirements import require_modules
from edgeseg.errors import InputError, UnsupportedError

if TYPE_CHECKING:
    from pathlib import Path

    from onnx import ModelProto
    from onnxruntime import InferenceSession

    from edgeseg.compress.quantize.sensitivity import LayerSqnr
    from edgeseg.core.artifact import Artifact
    from edgeseg.models import Checkpoint

FloatNet = Callable[[np.ndarray], dict[str, np.ndarray]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tap:
    """A quantized tensor of the artifact: the output that gives its rounded value, and its grid."""

    output: str
    scale: float
    zero_point: int
    lowest: int
    highest: int

    def rounded(self, value: np.ndarray) -> np.ndarray:
        """Return a value rounded to the tensor's own int8 grid."""
        stored = np.clip(np.rint(value / self.scale) + self.zero_point, self.lowest, self.highest)
        result: np.ndarray = (stored - self.zero_point) * self.scale
        return result


def float_checkpoint(artifact: Artifact, *, named: str | None) -> Path:
    """Return the checkpoint that an artifact was made from: the named one, else a bundled one with its weights.

    Raises:
        InputError: none is named or bundled, or the named one has other weights.
    """
    from edgeseg.models import bundled, resolve_model
    from edgeseg.models.checkpoint import read_spec

    wanted = artifact.manifest.lineage.weights_sha256
    for name in (named,) if named is not None else bundled():
        path = resolve_model(name)
        if read_spec(path).weights_sha256 == wanted:
            return path
    what = f'"{named}" has other weights than' if named else "No bundled checkpoint has the weights of"
    raise InputError(
        f"{what} {artifact.folder}, which was made from {artifact.manifest.lineage.checkpoint} ({wanted[:12]}...). "
        "Give that checkpoint with --checkpoint."
    )


def artifact_sqnr(artifact: Artifact, checkpoint: Checkpoint, images: Sequence[np.ndarray]) -> tuple[LayerSqnr, ...]:
    """Return the signal to noise ratio of every quantized tensor of an int8 ONNX artifact, as ONNX Runtime gives it.

    Raises:
        UnsupportedError: an artifact of another format, or one that is not int8.
        MissingDependency: onnx or onnxruntime is not installed.
    """
    manifest = artifact.manifest
    if manifest.format != "onnx" or manifest.scheme.name != "int8":
        raise UnsupportedError(
            f"{artifact.folder}: is {manifest.format} {manifest.scheme.name}. Intermediate tensors can be read from "
            "int8 ONNX artifacts; give one of those, or the checkpoint."
        )
    require_modules(("onnx", "onnxruntime"), what="Reading intermediate tensors", extra="convert-onnx")
    from edgeseg.compress.quantize.sensitivity import LayerSqnr
    from edgeseg.pixels import prepare
    from edgeseg.runtime.session.opening import assure

    assure(artifact, engine="onnxruntime")
    taps, session = _tapped(artifact.entry)
    names, floats = _float_net(checkpoint, set(taps), size=manifest.spec.size)
    taps = {source: tap for source, tap in taps.items() if source in names}
    sums = {source: np.zeros(3) for source in taps}
    for image in images:
        tensor = prepare(image, preprocess=manifest.preprocess, tensor=manifest.inputs[0])
        wanted = floats(tensor)
        given = session.run([tap.output for tap in taps.values()], {manifest.inputs[0].name: tensor})
        for (source, tap), value in zip(taps.items(), given, strict=True):
            exact = wanted[source].astype(np.float64)
            noise = (np.square(exact - value).sum(), np.square(exact - tap.rounded(exact)).sum())
            sums[source] += np.array([np.square(exact).sum(), *noise])
    return tuple(
        LayerSqnr(name=names[source], sqnr_db=_db(signal, noise), own_db=_db(signal, own))
        for source, (signal, noise, own) in sums.items()
    )


def _tapped(path: Path) -> tuple[dict[str, Tap], InferenceSession]:
    """Return the readable tensors by name in the float graph, and the session that computes them."""
    import onnx

    from edgeseg.runtime.engines.onnxruntime import inference_session

    model = onnx.load(path)
    taps = _taps(model)
    for tap in taps.values():
        model.graph.output.append(onnx.ValueInfoProto(name=tap.output))
    session = inference_session(model.SerializeToString(), threads=1)
    return taps, session


def _taps(model: ModelProto) -> dict[str, Tap]:
    from onnx.numpy_helper import to_array

    numbers = {item.name: item for item in model.graph.initializer}
    makers = {name: node for node in model.graph.node for name in node.output}
    found: dict[str, Tap] = {}
    for node in model.graph.node:
        quantize = makers.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if quantize is None or quantize.op_type != "QuantizeLinear":
            continue
        scale, zero_point = (to_array(numbers[name]) for name in quantize.input[1:3])
        grid = np.iinfo(zero_point.dtype)
        tap = Tap(
            output=node.output[0],
            scale=float(scale.reshape(())),
            zero_point=int(zero_point.reshape(())),
            lowest=int(grid.min),
            highest=int(grid.max),
        )
        found.setdefault(quantize.input[0], tap)
    return found


def _float_net(checkpoint: Checkpoint, wanted: set[str], *, size: tuple[int, int]) -> tuple[dict[str, str], FloatNet]:
    """Return the names to show, by tensor, and a function from an input tensor to the float net's value of each."""
    import torch
    from torch.fx import Interpreter, Node

    from edgeseg.export.export import deploy, export_program
    from edgeseg.graph.quantization_points import plan_quantization
    from edgeseg.models.checkpoint import at_size

    spec = at_size(checkpoint.spec, size=size)
    graph = export_program(deploy(checkpoint, spec=spec, output="logits"), spec=spec).module()
    points = {node.name: point.name for point in plan_quantization(graph).points for node in point.nodes[:1]}

    class Listener(Interpreter):
        def run_node(self, n: Node) -> object:
            value = super().run_node(n)
            if n.name in wanted and isinstance(value, torch.Tensor):
                values[n.name] = value.numpy()
            return value

    values: dict[str, np.ndarray] = {}

    def listen(tensor: np.ndarray) -> dict[str, np.ndarray]:
        values.clear()
        with torch.no_grad():
            Listener(graph).run(torch.from_numpy(tensor))
        return dict(values)

    return {name: points[name] for name in points if name in wanted}, listen


def _db(signal: float, noise: float) -> float:
    if noise <= 0.0:
        return math.inf
    return 10.0 * math.log10(signal / noise) if signal > 0.0 else -math.inf
