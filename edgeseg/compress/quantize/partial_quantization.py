"""A fake-quantized graph with rounding at selected nodes only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node

from edgeseg.compress.quantize.fake_quant import FakeActivation, FakeWeight

if TYPE_CHECKING:
    from edgeseg.graph.quantization_points import QuantizationPlan


class PartialRounding(Interpreter):
    """Runs a fake-quantized graph with rounding at the named nodes only."""

    def __init__(self, graph: GraphModule, sites: frozenset[str]) -> None:
        super().__init__(graph)
        self._sites = sites
        self._names: dict[str, str] = {}
        self._values: dict[str, Tensor] = {}
        self._rounded: dict[str, Tensor] = {}

    @torch.no_grad()
    def logits(self, x: Tensor) -> Tensor:
        """Return the logits."""
        (logits,) = self.run(x)
        assert isinstance(logits, Tensor)
        return logits

    def values(self, x: Tensor, names: dict[str, str]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Return the value that each named node passes on, and the same value rounded once."""
        self._names = names
        self.logits(x)
        return self._values, self._rounded

    def run_node(self, n: Node) -> object:
        """Return the node's value; a disabled rounding returns its input."""
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


def sites(found: QuantizationPlan) -> frozenset[str]:
    """Return the names of the nodes and weights that a plan rounds to int8."""
    points = {node.name for point in found.points for node in point.nodes}
    return frozenset(points | {str(node.args[1]) for node in found.weighted})
