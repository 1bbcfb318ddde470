"""The exported ONNX file as ncnn wants it: float planes (1, 3, H, W) in, logits (1, C, h, w) out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeseg.errors import ConversionError

if TYPE_CHECKING:
    from pathlib import Path

    import onnx

_TO_PLANES, _FROM_PLANES = (0, 3, 1, 2), (0, 2, 3, 1)
_NORMALISING = ("Mul", "Add")


def write_channels_first(source: Path, target: Path) -> None:
    """Write the ONNX file `source` with channels first outside too, and without the cast of the image's bytes.

    Normalisation, if the graph holds it, is applied to the planes: ncnn would otherwise spread the image's rows over
    its channels and transpose it.

    Raises:
        ConversionError: the graph does not begin and end as edgeseg's exports do.
    """
    import onnx

    model = onnx.load(source)
    graph = model.graph
    _take_planes(graph)
    _give_planes(graph)
    target.write_bytes(model.SerializeToString(deterministic=True))


def _take_planes(graph: onnx.GraphProto) -> None:
    """Replace [Cast, Mul, Add,] Transpose behind the input by [Mul, Add] on planes."""
    from onnx import TensorProto, helper, numpy_helper

    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    image = graph.input[0]
    _, height, width, channels = (size.dim_value for size in image.type.tensor_type.shape.dim)
    value, found, done = image.name, [], []
    while True:
        readers = [node for node in graph.node if value in node.input]
        if len(readers) != 1 or readers[0].op_type not in ("Cast", *_NORMALISING, "Transpose"):
            raise ConversionError("ncnn: the graph does not begin with a normalised image in planes.")
        node = readers[0]
        found.append(node)
        if node.op_type == "Transpose":
            break
        if node.op_type in _NORMALISING:
            name = next((name for name in node.input if name != value), "")
            row = constants.get(name)
            if row is None or row.shape[-1] != channels or not np.all(row == row[..., :1, :]):
                raise ConversionError(f"ncnn: {node.name}: the image is not normalised channel by channel.")
            planes = numpy_helper.from_array(row.reshape(-1, channels)[0].reshape(1, channels, 1, 1), f"{name}.planes")
            graph.initializer.append(planes)
            done.append((node.op_type, planes.name))
        value = node.output[0]
    if _permutation(found[-1]) != _TO_PLANES:
        raise ConversionError("ncnn: the graph does not bring the image's channels first.")
    result = found[-1].output[0]
    for node in found:
        graph.node.remove(node)
    name, nodes = image.name, []
    for index, (kind, constant) in enumerate(done):
        made = result if index == len(done) - 1 else f"{image.name}.{index}"
        nodes.append(helper.make_node(kind, [name, constant], [made], name=f"normalise.{index}"))
        name = made
    if not done:
        _rename(graph, old=result, new=image.name)
    rest = [*nodes, *graph.node]
    del graph.node[:]
    graph.node.extend(rest)
    shape = [1, channels, height, width]
    image.CopyFrom(helper.make_tensor_value_info(image.name, TensorProto.FLOAT, shape))


def _give_planes(graph: onnx.GraphProto) -> None:
    """Remove the last Transpose."""
    from onnx import TensorProto, helper

    output = graph.output[0]
    last = next((node for node in graph.node if output.name in node.output), None)
    if last is None or last.op_type != "Transpose" or _permutation(last) != _FROM_PLANES:
        raise ConversionError("ncnn: the graph does not end with logits whose channels are brought last.")
    _, height, width, classes = (size.dim_value for size in output.type.tensor_type.shape.dim)
    graph.node.remove(last)
    shape = [1, classes, height, width]
    output.CopyFrom(helper.make_tensor_value_info(last.input[0], TensorProto.FLOAT, shape))


def _permutation(node: onnx.NodeProto) -> tuple[int, ...]:
    return next((tuple(item.ints) for item in node.attribute if item.name == "perm"), ())


def _rename(graph: onnx.GraphProto, *, old: str, new: str) -> None:
    for node in graph.node:
        for index, value in enumerate(node.input):
            if value == old:
                node.input[index] = new
