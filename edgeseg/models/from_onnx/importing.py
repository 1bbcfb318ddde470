"""An ONNX file to an `OnnxNet`: constants are computed, each node becomes a step, unused steps are removed."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeseg.errors import UnsupportedError
from edgeseg.models.from_onnx.fusions import fuse_gelu
from edgeseg.models.from_onnx.net import OnnxNet
from edgeseg.models.from_onnx.ops import LOWERINGS
from edgeseg.models.from_onnx.plan import NetPlan
from edgeseg.models.from_onnx.tracing import Node, Result, Trace

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    import onnx
    from numpy.typing import NDArray
    from torch import Tensor

    from edgeseg.models.from_onnx.tracing import OnnxValue

_SHAPE_OPS = ("Shape", "Size", "Constant")
_QUANTIZED = ("QuantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger")
_DOMAINS = ("", "ai.onnx")


def import_graph(model: onnx.ModelProto, *, image: Tensor, channels_last: bool, output: str, path: Path) -> OnnxNet:
    """Return the net of an ONNX file, in evaluation mode, with its weights.

    `image` is an example input (1, 3, H, W); its size is that of the net. If the file takes NHWC
    (`channels_last`), the net still takes NCHW. `output` names the result.

    Raises:
        UnsupportedError: an unsupported op, or an unsupported form of an op; names the node.
    """
    nodes = onnx_check_ops(model, output=output, path=path)
    graph = inlined(model).graph
    stored = _initializers(graph)
    source = next(item.name for item in graph.input if item.name not in stored)
    trace = Trace(opset=opset_of(model), where=str(path))
    trace.uses = dict(Counter(item for node in nodes for item in node.input)) | {output: 2}
    trace.values |= stored
    first = Result(name="input", tensor=image)
    trace.values["\0input"] = first  # found by its step's name where two permutations cancel
    given = trace.emit("permute", first, name="nhwc", settings={"order": [0, 2, 3, 1]}) if channels_last else first
    trace.values[source] = given
    for node in nodes:
        _import_node(node, trace)
    found = trace.values[output]
    if not isinstance(found, Result):
        raise UnsupportedError(f'{path}: output "{output}" does not depend on the image.')
    return _net(trace, found)


def onnx_check_ops(model: onnx.ModelProto, *, output: str, path: Path) -> list[onnx.NodeProto]:
    """Return the nodes that an output depends on, in order; raises `UnsupportedError` for unsupported ops."""
    graph = inlined(model).graph
    nodes = _needed_nodes(graph, output)
    _refuse_unknown(nodes, constants={item.name for item in graph.initializer}, path=path)
    return nodes


def opset_of(model: onnx.ModelProto) -> int:
    """Return the version of ONNX's own op set that a file uses."""
    return max((item.version for item in model.opset_import if item.domain in _DOMAINS), default=1)


def inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with local functions inlined."""
    if not model.functions:
        return model
    from onnx import inliner

    return inliner.inline_local_functions(model)


def _needed_nodes(graph: onnx.GraphProto, output: str) -> list[onnx.NodeProto]:
    """Return the nodes that an output depends on, in order."""
    needed, found = {output}, []
    for node in reversed(graph.node):
        if needed & set(node.output):
            needed |= set(node.input)
            found.append(node)
    return found[::-1]


def _refuse_unknown(nodes: Iterable[onnx.NodeProto], *, constants: set[str], path: Path) -> None:
    """Raise `UnsupportedError` for ops that cannot be imported, each with its node; constants may be of any op."""
    known = {"", *constants}
    unknown: dict[str, list[str]] = {}
    for node in nodes:
        if node.op_type in _SHAPE_OPS or (node.input and set(node.input) <= known and not _reads_around(node)):
            known |= set(node.output)
        elif _reads_around(node) or node.op_type not in LOWERINGS or node.domain not in _DOMAINS:
            kind = node.op_type if node.domain in _DOMAINS else f"{node.domain}.{node.op_type}"
            unknown.setdefault(kind, []).append(node.name or node.output[0])
    quantized = next((kind for kind in unknown if kind in _QUANTIZED), None)
    if quantized is not None:
        raise UnsupportedError(
            f'{path}: is quantized (node "{unknown[quantized][0]}" is {quantized}); only a float file can be brought '
            "to other formats. Give the float ONNX file, or use this one unchanged: edgeseg adopt."
        )
    if unknown:
        listed = "; ".join(
            f'{kind} (node "{names[0]}"{f" and {len(names) - 1} more" if len(names) > 1 else ""})'
            for kind, names in unknown.items()
        )
        raise UnsupportedError(
            f"{path}: has ops that cannot be converted to PyTorch: {listed}. Run the file unchanged: edgeseg adopt."
        )


def _reads_around(node: onnx.NodeProto) -> bool:
    """Return whether a branch or loop body of the node reads values of the graph around it."""
    return any(map(_outer_names, _bodies(node)))


def _bodies(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """Return a node's branches or loop body."""
    return [graph for item in node.attribute for graph in (item.g, *item.graphs)]


def _outer_names(graph: onnx.GraphProto) -> set[str]:
    """Return the names that a body's nodes and outputs read and that it does not make itself."""
    own = {"", *(item.name for item in (*graph.input, *graph.initializer))}
    own |= {name for node in graph.node for name in node.output}
    read = {name for node in graph.node for name in node.input} | {item.name for item in graph.output}
    inner = (_outer_names(body) for node in graph.node for body in _bodies(node))
    return read.union(*inner) - own


def _initializers(graph: onnx.GraphProto) -> dict[str, NDArray[Any]]:
    from onnx import numpy_helper

    return {item.name: numpy_helper.to_array(item) for item in graph.initializer}


def _import_node(proto: onnx.NodeProto, trace: Trace) -> None:
    from onnx import numpy_helper

    inputs = tuple(trace.values[name] if name else None for name in proto.input)
    node = Node(proto=proto, inputs=inputs, trace=trace)
    if proto.op_type == "Shape" and isinstance(inputs[0], Result):
        shape = np.array(inputs[0].shape, np.int64)
        trace.values[proto.output[0]] = shape[node.attribute("start", 0) : node.attribute("end")]
    elif proto.op_type == "Size" and isinstance(inputs[0], Result):
        trace.values[proto.output[0]] = np.array(inputs[0].tensor.numel(), np.int64)
    elif proto.op_type == "Constant" and node.attribute("value") is not None:
        # The most frequent one, for which no evaluator is built.
        trace.values[proto.output[0]] = numpy_helper.to_array(node.attribute("value"))
    elif proto.op_type == "Identity" and inputs[0] is not None:
        trace.values[proto.output[0]] = inputs[0]
    elif any(isinstance(value, Result) for value in inputs):
        trace.values |= zip(proto.output, _results(node), strict=False)
    else:
        try:
            trace.values |= evaluated(proto, dict(zip(proto.input, inputs, strict=True)), opset=trace.opset)
        except Exception as error:  # ONNX's reference implementation raises any type
            reason = " ".join(str(error).split())[:160]
            raise node.refusal(f"its constants cannot be computed: {reason}") from error


def _results(node: Node) -> tuple[OnnxValue, ...]:
    try:
        made = LOWERINGS[node.op](node)
    except (RuntimeError, ValueError, IndexError, TypeError) as error:  # errors of PyTorch's own layers
        reason = " ".join(str(error).split())[:160]
        raise node.refusal(f"PyTorch refuses it: {reason}") from error
    return made if isinstance(made, tuple) else (made,)


def evaluated(proto: onnx.NodeProto, inputs: Mapping[str, OnnxValue | None], *, opset: int) -> dict[str, NDArray[Any]]:
    """Return the results of a node whose inputs are all constant, by ONNX's reference implementation."""
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    given = {name: value for name, value in inputs.items() if isinstance(value, np.ndarray)}
    infos = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in given.items()
    ]
    names = [name for name in proto.output if name]
    outputs = [helper.make_empty_tensor_value_info(name) for name in names]
    graph = helper.make_graph([proto], "constant", infos, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    found = ReferenceEvaluator(model).run(names, given)
    return {name: np.asarray(value) for name, value in zip(names, found, strict=True)}


def _net(trace: Trace, output: Result) -> OnnxNet:
    needed, kept = {output.name}, []
    for step in reversed(fuse_gelu(trace.steps.values())):
        if step.name in needed:
            needed |= set(step.inputs)
            kept.append(step)
    steps = tuple(reversed(kept))
    net = OnnxNet(NetPlan(output=output.name, steps=steps).to_text())
    for step in steps:
        if step.kind == trace.steps[step.name].kind:
            net.get_submodule(step.name).load_state_dict(trace.modules[step.name].state_dict())
    net.eval()
    return net
