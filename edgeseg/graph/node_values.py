"""The values of a graph's nodes while it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class NodeObserver(Interpreter):
    """Runs a graph and passes each value of the nodes in `observers` to their function."""

    def __init__(self, graph: GraphModule, observers: Mapping[Node, Callable[[Tensor], None]]) -> None:
        super().__init__(graph)
        self._observers = observers

    def run_node(self, n: Node) -> object:
        """Return the node's value, after its observer saw it."""
        value = super().run_node(n)
        if n in self._observers:
            assert isinstance(value, Tensor)
            self._observers[n](value)
        return value
