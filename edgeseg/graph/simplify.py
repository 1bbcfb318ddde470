"""An exported graph in fewer kinds of ops: equal computations become equal ops, however the module is written."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

import torch
from torch.fx import Node

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch.export import ExportedProgram

_aten = torch.ops.aten

# Dropouts become clones where in-place ops are replaced; without such ops a clone is its input.
_NO_OPS = (_aten.dropout.default, _aten.feature_dropout.default, _aten.alpha_dropout.default, _aten.clone.default)
SPATIAL = [2, 3]


def simplify(program: ExportedProgram) -> ExportedProgram:
    """Return a program in evaluation mode with its graph simplified; its outputs stay the same.

    In-place ops become functional ones. Dropouts are removed. Adaptive average pools become means (to one cell) or
    plain average pools (where the output's size divides the input's), which exporters would turn into chains of
    reshapes. Clamps between two numbers become hardtanh, and clamps from below at zero ReLU.
    """
    if any(_is_in_place(node) for node in program.graph.nodes):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # PyTorch 2.13 warns about its own code here
            program = program.run_decompositions({})
    graph = program.graph_module.graph
    for node in list(graph.nodes):
        rule = _RULES.get(node.target) if node.op == "call_function" else None
        if rule is not None:
            rule(node)
    graph.eliminate_dead_code()
    program.graph_module.recompile()
    return program


def _is_in_place(node: Node) -> bool:
    schema = getattr(node.target, "_schema", None)
    return schema is not None and schema.is_mutable


def _drop(node: Node) -> None:
    source = node.args[0]
    assert isinstance(source, Node)
    node.replace_all_uses_with(source)
    node.graph.erase_node(node)


def _pool(node: Node) -> None:
    source, (high, width) = node.args[0], _pair(node.args[1])
    assert isinstance(source, Node)
    rows, columns = source.meta["val"].shape[-2:]
    if (high, width) == (1, 1):
        node.target, node.args = _aten.mean.dim, (source, list(SPATIAL), True)
    elif rows % high == 0 and columns % width == 0:
        kernel = [rows // high, columns // width]
        node.target, node.args = _aten.avg_pool2d.default, (source, kernel, list(kernel))


def _clamp(node: Node) -> None:
    source, low, high = (*node.args, None, None)[:3]
    low, high = node.kwargs.get("min", low), node.kwargs.get("max", high)
    if isinstance(low, (int, float)) and isinstance(high, (int, float)) and math.isfinite(low) and math.isfinite(high):
        node.target, node.args, node.kwargs = _aten.hardtanh.default, (source, low, high), {}
    elif low == 0 and isinstance(low, (int, float)) and high is None:
        node.target, node.args, node.kwargs = _aten.relu.default, (source,), {}


def _pair(size: object) -> tuple[int, int]:
    high, width = size if isinstance(size, (list, tuple)) else (size, size)
    return int(high), int(width)


_RULES: dict[object, Callable[[Node], None]] = {
    **dict.fromkeys(_NO_OPS, _drop),
    _aten.adaptive_avg_pool2d.default: _pool,
    _aten.clamp.default: _clamp,
    _aten.clamp_min.default: _clamp,
}
