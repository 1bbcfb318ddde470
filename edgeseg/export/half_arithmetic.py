"""The float graph computed in float16 or bfloat16, as on a device with that arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.fx import GraphModule, Interpreter, Node

from edgeseg.graph.quantization_points import point_names

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class HalfRun:
    """The graph's output, and the largest absolute value inside it with its layer's name."""

    output: NDArray[np.generic]
    peak: float
    layer: str


class HalfArithmetic(Interpreter):
    """Runs a graph in float32 with every weight and every result rounded to `dtype`; sums stay in float32.

    Engines and accelerators with half precision accumulate in float32 and round a layer's output; so does this. A value
    beyond the type's range becomes infinite, as it does there.
    """

    def __init__(self, graph: GraphModule, *, dtype: str) -> None:
        super().__init__(graph)
        self._dtype = {"float16": torch.float16, "bfloat16": torch.bfloat16}[dtype]
        self._limit = float(torch.finfo(self._dtype).max)
        self._names = point_names([node for node in graph.graph.nodes if node.op == "call_function"])
        self._peak, self._layer = 0.0, ""

    def half_run(self, tensor: NDArray[np.generic]) -> HalfRun:
        """Return the output for an input tensor, with the largest value inside."""
        self._peak, self._layer = 0.0, ""
        with torch.no_grad():
            found = self.run(torch.from_numpy(tensor))
        output = found[0] if isinstance(found, (tuple, list)) else found
        return HalfRun(output=output.numpy(), peak=self._peak, layer=self._layer)

    def run_node(self, n: Node) -> object:
        """Return a node's value, rounded if it is a float tensor."""
        value = super().run_node(n)
        if n.op == "output" or not isinstance(value, torch.Tensor) or not value.is_floating_point():
            return value
        largest = float(value.abs().max()) if value.numel() else 0.0
        if largest == float("inf"):  # the type holds infinity, such as a mask's: what is beside it counts
            finite = value[~value.isinf()]
            largest = float(finite.abs().max()) if finite.numel() else 0.0
        # Layers after an overflow are not blamed for it.
        if self._peak <= self._limit and not largest <= self._peak:
            self._peak, self._layer = largest, self._names.get(n, n.name)
        return value.to(self._dtype).to(torch.float32)
