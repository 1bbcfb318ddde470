"""The exported program in half precision: weights and activations float16, the image's normalisation in float32."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch.export import ExportedProgram
    from torch.fx import Node

    from edgeseg.core.exported import ExportedModel


def in_half(exported: ExportedModel) -> ExportedProgram:
    """Return the program with every weight and activation behind the normalisation in float16; logits come as float32.

    Bytes are normalised in float32: in half precision the result would be off by up to a thousandth of its size before
    the first layer. `exported` is not changed.
    """
    import torch

    aten = torch.ops.aten
    module: Any = exported.program().module()
    graph = module.graph
    image = next(node for node in graph.nodes if node.op == "placeholder")
    for node in [node for node in graph.nodes if node.target is aten._assert_tensor_metadata.default]:  # noqa: SLF001 - an op
        graph.erase_node(node)
    first = _normalisation(image)
    before = {image, *first}
    kept = {source.target for node in first for source in node.all_input_nodes if source.op == "get_attr"}
    for node in graph.nodes:
        if node.op == "get_attr" and node.target not in kept:
            _halve(module, node.target)
        elif node.op == "call_function" and node not in before:
            node.args, node.kwargs = _half_types(node.args), _half_types(node.kwargs)
    last = first[-1] if first else image
    with graph.inserting_after(last):
        entering = graph.call_function(aten.to.dtype, (last, torch.float16))
    last.replace_all_uses_with(entering, delete_user_cb=lambda user: user is not entering and user.op != "call_module")
    if exported.output.dtype.startswith("float"):
        end = graph.output_node()
        (results,) = end.args
        with graph.inserting_before(end):
            leaving = graph.call_function(aten.to.dtype, (results[0], torch.float32))
        end.args = ((leaving, *results[1:]),)
    graph.lint()
    module.recompile()
    sample = torch.zeros(exported.input.shape, dtype=getattr(torch, exported.input.dtype))
    with torch.no_grad():
        return torch.export.export(module, (sample,))


def _normalisation(image: Node) -> list[Node]:
    """Return the ops that bring the image's bytes to the net's floats: casts, products, sums, and moved axes."""
    import torch

    aten = torch.ops.aten
    able = (
        aten.to.dtype, aten._to_copy.default, aten.mul.Tensor, aten.add.Tensor, aten.sub.Tensor, aten.div.Tensor,  # noqa: SLF001 - an op
        aten.permute.default, aten.contiguous.default,
    )  # fmt: skip
    found: list[Node] = []
    node = image
    while True:
        users = [user for user in node.users if user.op == "call_function"]
        others = [source for user in users for source in user.all_input_nodes if source is not node]
        fixed = all(source.op == "get_attr" for source in others)
        if len(users) != 1 or users[0].target not in able or not fixed:
            return found
        node = users[0]
        found.append(node)


def _halve(module: Any, target: str) -> None:
    """Replace a float32 weight or constant of a module by float16."""
    import torch

    place, _, name = target.rpartition(".")
    owner = module.get_submodule(place)
    tensor = getattr(owner, name)
    if not tensor.is_floating_point():
        return
    delattr(owner, name)
    owner.register_buffer(name, tensor.detach().to(torch.float16))


def _half_types(value: Any) -> Any:
    """Return an op's arguments with float32, as a type of result, replaced by float16."""
    import torch

    if isinstance(value, dict):
        return {key: _half_types(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(_half_types(item) for item in value)
    return torch.float16 if value is torch.float32 else value
