"""The float graph of a plain net: what equalization, fake quantization and surgery read and run."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from edgeseg.graph.batch_norm_folding import fold_batch_norms
from edgeseg.graph.simplify import simplify

INNER = "net"
"""The plain net's name in the graph."""


class _Trainable(nn.Module):
    """The deployment graph without normalisation; the permutation gives the input's point the same name."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.net(x.permute(0, 1, 2, 3))
        return logits


def float_graph(net: nn.Module, *, size: tuple[int, int]) -> GraphModule:
    """Return the float graph from normalised images (N, 3, H, W) to logits, for any N, with batch norms folded."""
    trainable = _Trainable(fold_batch_norms(net, size=size)).eval()
    example = torch.zeros((2, 3, *size))
    dynamic = ({0: torch.export.Dim.DYNAMIC},)
    with torch.no_grad():
        program = simplify(torch.export.export(trainable, (example,), dynamic_shapes=dynamic))
    graph = program.module(check_guards=False)
    assert isinstance(graph, GraphModule)
    return graph


def layer_path(node: Node) -> str:
    """Return the path, in the plain net, of the layer whose weight a node of the float graph reads."""
    weight = node.args[1]
    assert isinstance(weight, Node)
    return str(weight.target).removeprefix(f"{INNER}.").removesuffix(".weight")
