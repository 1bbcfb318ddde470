"""A fake-quantized graph that rounds only where it is told to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node

from edgeseg.compress.quantize.fake_quant import FakeActivation, FakeWeight

if TYPE_CHECKING:
    from edgeseg.graph.quantization_points import Plan


class Partly(Interpreter):
    """Runs a fake-quantized graph with rounding at the named nodes only."""

    def __init__(self, graph: GraphModule, sites: frozenset[str]) -> None:
        super().__init__(graph)
        self._sites = sites
        self._names: dict[str, str] = {}
        self._values: dict[str, Tensor] = {}
        self._rounded: dict[str, Tensor] = {}

    @torch.no_grad()
    def answer(self, x: Tensor) -> Tensor:
        """Return the logits."""
        (logits,) = self.run(x)
        assert isinstance(logits, Tensor)
        return logits

    def heard(self, x: Tensor, names: dict[str, str]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return what went on from each named node, and the same rounded once."""
        self._names = names
        self.answer(x)
        return self._values, self._rounded

    def run_node(self, n: Node) -> object:
        """Return the node's value; a rounding that is off gives what it was given."""
        found = self.fetch_attr(str(n.target)) if n.op == "call_module" else None
        if not isinstance(found, (FakeActivation, FakeWeight)):
            return super().run_node(n)
        source = n.args[0]
        assert isinstance(source, Node)
        value: Tensor = self.env[source]
        on = source.name in self._sites
        result: Tensor = found(value) if on or source.name in self._names else value
        if source.name in self._names:
            self._rounded[source.name] = result
            result = result if on else value
            self._values[source.name] = result
        return result


def sites(found: Plan) -> frozenset[str]:
    """Return the names of what a plan rounds: nodes whose outputs, and weights that, become int8."""
    points = {node.name for point in found.points for node in point.nodes}
    return frozenset(points | {str(node.args[1]) for node in found.weighted})
