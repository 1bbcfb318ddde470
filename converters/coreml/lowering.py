"""The deployment graph in Core ML's form: a float image in, channels first in and out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch.export import ExportedProgram

from edgeseg.core.spec import TensorSpec
from edgeseg.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch.fx import Graph, Node

    from edgeseg.core.exported import ExportedModel

TO_LAST, TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lowered:
    """The rewritten program, and the tensors of the package.

    `input` is a uint8 image (1, 3, H, W), `output` logits (1, C, h, w) or labels (1, h, w) int32.
    """

    program: ExportedProgram
    input: TensorSpec
    output: TensorSpec


def lower(exported: ExportedModel) -> Lowered:
    """Return the program from a float32 image (1, 3, H, W) of values 0 to 255; `exported` is not changed.

    Core ML has no 8-bit input tensors; its apps pass an image, which arrives as float, channels first. coremltools
    itself then moves the permutation through the normalisation and cancels it.

    Raises:
        UnsupportedError: the input is not an 8-bit image.
    """
    if exported.input.dtype != "uint8" or exported.input.layout not in ("NHWC", "NCHW"):
        raise UnsupportedError(
            f"Core ML takes an 8-bit image here; the graph needs {exported.input.dtype} {exported.input.layout}. "
            "Set preprocess.in_graph = true in the spec."
        )
    program = _decomposed(exported.folded_program())
    graph = program.graph_module.graph
    _feed_image(_placeholder(program), graph=graph, layout=exported.input.layout)
    _give_strides(graph)
    output = exported.output
    if output.layout == "NHWC" and _drop_last_permutation(program):
        output = replace(output, layout="NCHW", shape=tuple(output.shape[axis] for axis in TO_FIRST))
    if output.role == "labels":
        _drop_last_cast(program)
        output = replace(output, dtype="int32")
    graph.eliminate_dead_code()
    graph.lint()
    program.graph_module.recompile()
    height, width = exported.input.size
    image = replace(exported.input, shape=(1, 3, height, width), layout="NCHW", name="image")
    return Lowered(program=program, input=image, output=output)


def _decomposed(program: object) -> ExportedProgram:
    import warnings

    from torch.export import ExportedProgram

    if not isinstance(program, ExportedProgram):
        raise UnsupportedError(f"Core ML converts a torch.export program, not a {type(program).__name__}.")
    with warnings.catch_warnings():
        # torch copies its own deprecated tree specs here; users cannot fix it.
        warnings.filterwarnings("ignore", message=r".*LeafSpec", category=FutureWarning)
        decomposed: ExportedProgram = program.run_decompositions({})
        return decomposed


def _placeholder(program: ExportedProgram) -> Node:
    name = program.graph_signature.user_inputs[0]
    nodes: Iterable[Node] = program.graph_module.graph.nodes
    return next(node for node in nodes if node.op == "placeholder" and node.name == name)


def _feed_image(image: Node, *, graph: Graph, layout: str) -> None:
    import torch

    aten = torch.ops.aten
    value = image.meta["val"]
    users = [user for user in image.users if user.target is not aten._assert_tensor_metadata.default]  # noqa: SLF001 - an op
    for user in [user for user in image.users if user not in users]:
        graph.erase_node(user)
    first = value.permute(TO_FIRST) if layout == "NHWC" else value
    image.meta["val"] = first.to(torch.float32).contiguous()
    source = image
    if layout == "NHWC":
        with graph.inserting_after(image):
            source = graph.call_function(aten.permute.default, (image, list(TO_LAST)))
        source.meta["val"] = image.meta["val"].permute(TO_LAST)
        for user in users:
            user.replace_input_with(image, source)
    # A cast of a tensor that is float already is removed, because coremltools cannot cast from uint8.
    for node in list(graph.nodes):
        if node.target is aten._to_copy.default and _comes_from(node.args[0], source):  # noqa: SLF001 - an op
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
        elif node.target is aten._assert_tensor_metadata.default:  # noqa: SLF001 - an op
            graph.erase_node(node)


def _give_strides(graph: Graph) -> None:
    """Write out a pooling's stride where it is left to its default, the kernel's size: coremltools needs it."""
    import torch

    aten = torch.ops.aten
    for node in graph.nodes:
        pools = node.target in (aten.max_pool2d.default, aten.avg_pool2d.default)
        if pools and (len(node.args) == 2 or not node.args[2]):
            node.args = (*node.args[:2], node.args[1], *node.args[3:])


def _comes_from(node: object, source: Node) -> bool:
    """Return whether only permutations lie between `source` and `node`."""
    import torch

    while node is not source and getattr(node, "target", None) is torch.ops.aten.permute.default:
        node = node.args[0]  # type: ignore[attr-defined]
    return node is source


def _drop_last_permutation(program: ExportedProgram) -> bool:
    import torch

    last = _last(program)
    if last.target is not torch.ops.aten.permute.default or tuple(last.args[1]) != TO_LAST:  # type: ignore[arg-type]
        return False
    _end_with(last.args[0], program=program)  # type: ignore[arg-type]
    return True


def _drop_last_cast(program: ExportedProgram) -> None:
    """Core ML's argmax gives int32 whatever torch's was cast to."""
    import torch

    last = _last(program)
    if last.target is torch.ops.aten._to_copy.default:  # noqa: SLF001 - an op
        _end_with(last.args[0], program=program)  # type: ignore[arg-type]


def _last(program: ExportedProgram) -> Node:
    (results,) = program.graph_module.graph.output_node().args
    last: Node = results[0]
    return last


def _end_with(node: Node, *, program: ExportedProgram) -> None:
    program.graph_module.graph.output_node().replace_input_with(_last(program), node)
    outputs = program.graph_signature.output_specs
    outputs[0] = replace(outputs[0], arg=replace(outputs[0].arg, name=node.name))
