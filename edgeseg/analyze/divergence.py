"""The first node of a float graph whose value an artifact's engine does not have, found without names.

Converters rename, fuse and transpose, but a healthy artifact still computes most of the float graph's tensors. So each
node's value is looked for among all tensors of the artifact, in either layout. From the output the search then goes
back along nodes that are nowhere to be found, until everything that a node reads is found: that node is the culprit. An
op that was fused into the next one is never visited, because the next one is found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.fx import GraphModule, Interpreter, Node

from edgeseg.graph.quantization_points import MOVING, RESHAPING, op_name, point_names
from edgeseg.metrics.agreement import decibel

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Divergence:
    """The culprit: its layer as `path:op`, the op, and the best SQNR in dB among the artifact's tensors.

    `wanted` and `given` are the (low, high) of its value in the float graph and in the tensor that is most like it.
    `after_image` says that it is one of the ops that normalise the image.
    """

    layer: str
    op: str
    sqnr_db: float
    wanted: tuple[float, float]
    given: tuple[float, float] | None
    after_image: bool


def first_divergence_in(
    graph: GraphModule, tensor: NDArray[Any], values: Sequence[NDArray[np.float32]], *, least_db: float
) -> Divergence | None:
    """Return the first node whose value is missing among `values`, None if the output's is there.

    `graph` is the float deployment graph, `tensor` its input, and `least_db` the SQNR from which a value is found.
    """
    nodes = _Values(graph)
    with torch.no_grad():
        nodes.run(torch.from_numpy(tensor))
    groups: dict[int, list[NDArray[np.float32]]] = {}
    for value in values:
        groups.setdefault(value.size, []).append(value)
    matches = {node: _best(value, groups.get(value.size, ())) for node, value in nodes.found.items()}

    def is_found(node: Node) -> bool:
        return node not in matches or matches[node][0] >= least_db

    output = next(node for node in reversed(graph.graph.nodes) if node.op == "output")
    open_nodes, seen = [node for node in _computing(output, nodes.found) if not is_found(node)], set()
    while open_nodes:
        node = open_nodes.pop()
        before = [source for source in _computing(node, nodes.found) if not is_found(source) and source not in seen]
        seen.add(node)
        if not before:
            return _described(graph, node, nodes.found[node], matches[node])
        open_nodes = before
    return None


class _Values(Interpreter):
    """Runs a graph and keeps the value of each float node that computes."""

    def __init__(self, graph: GraphModule) -> None:
        super().__init__(graph)
        self.found: dict[Node, NDArray[np.float32]] = {}

    def run_node(self, n: Node) -> object:
        """Return the node's value, kept where it is a float tensor that an op computed."""
        value = super().run_node(n)
        computes = n.op == "call_function" and n.target not in MOVING and op_name(n) not in RESHAPING
        if computes and isinstance(value, torch.Tensor) and value.is_floating_point() and value.numel() > 1:
            self.found[n] = value.numpy()
        return value


def _computing(node: Node, values: dict[Node, NDArray[np.float32]]) -> Iterable[Node]:
    """Yield the nodes whose values a node reads, looking through those that only move numbers."""
    for source in node.all_input_nodes:
        if source in values:
            yield source
        elif source.op == "call_function":
            yield from _computing(source, values)


def _best(
    wanted: NDArray[np.float32], candidates: Iterable[NDArray[np.float32]]
) -> tuple[float, NDArray[np.float32] | None]:
    power = float(np.square(wanted, dtype=np.float64).sum())
    best: tuple[float, NDArray[np.float32] | None] = (-np.inf, None)
    for value in candidates:
        for laid_out in _layouts(value, wanted):
            with np.errstate(over="ignore", invalid="ignore"):
                error = float(np.square(laid_out.astype(np.float64) - wanted).sum())
            db = decibel(power, error) if np.isfinite(error) else -np.inf
            if best[1] is None or db > best[0]:
                best = (db, value)
    return best


def _layouts(value: NDArray[np.float32], wanted: NDArray[np.float32]) -> Iterable[NDArray[np.float32]]:
    if value.shape == wanted.shape:
        yield value
    if value.ndim == wanted.ndim == 4:
        for axes in ((0, 3, 1, 2), (0, 2, 3, 1)):
            turned = value.transpose(axes)
            if turned.shape == wanted.shape:
                yield turned
    elif value.size == wanted.size and value.ndim != wanted.ndim:
        yield value.reshape(wanted.shape)


def _described(
    graph: GraphModule,
    node: Node,
    wanted: NDArray[np.float32],
    match: tuple[float, NDArray[np.float32] | None],
) -> Divergence:
    names = point_names([item for item in graph.graph.nodes if item.op == "call_function"])
    given = match[1]
    return Divergence(
        layer=names[node],
        op=op_name(node),
        sqnr_db=float(match[0]),
        wanted=(float(wanted.min()), float(wanted.max())),
        given=None if given is None else (float(given.min()), float(given.max())),
        after_image=wanted.ndim == 4 and wanted.shape[-1] == 3,
    )
