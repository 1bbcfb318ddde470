"""A tiny net whose layers int8 rounds badly, and what int8 makes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from edgeseg.compress.quantize.fake_quant_net import QuantNet, quant_net
from edgeseg.compress.quantize.paired_run import PairedLayer, PairedRun
from edgeseg.compress.quantize.recipe import QatRecipe
from edgeseg.export.observing import observe_points
from edgeseg.graph.float_graph import float_graph
from edgeseg.graph.quantization_points import plan_quantization

if TYPE_CHECKING:
    from edgeseg.core.quantization import Range

SIZE = (32, 48)


def rough_net() -> nn.Sequential:
    """Return expand, depthwise, project, with batch norms; one large weight an output makes the int8 steps coarse."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 5, 1),
    ).eval()
    with torch.no_grad():
        for layer in (net[0], net[3], net[6]):
            layer.weight.flatten(1)[:, 0] *= 40
        for norm in (net[1], net[4]):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias, 0, 0.3)
    return net


def smooth_images(count: int = 4) -> Tensor:
    """Return seeded images (N, 3, H, W) of values 0 to 1, smooth as photographs are."""
    noise = torch.rand(count, 3, 4, 6, generator=torch.Generator().manual_seed(1))
    return nn.functional.interpolate(noise, SIZE, mode="bilinear")


def ranges_on(net: nn.Module, images: Tensor) -> tuple[Range, ...]:
    """Return the ranges of a net's activations on images."""
    graph = float_graph(net, size=SIZE)
    return observe_points(graph, lambda: iter([images.numpy()]), plan=plan_quantization(graph), observer="minmax")


def in_int8(net: nn.Module, ranges: tuple[Range, ...]) -> QuantNet:
    """Return the net as int8 computes it."""
    found = quant_net(net, size=SIZE, ranges=ranges, recipe=QatRecipe(mode="ema")).eval()
    found.fit()
    return found


class LayerOutputs(PairedRun):
    """Keeps the float and the int8 output of each layer, by its path."""

    def __init__(self, net: QuantNet) -> None:
        super().__init__(net.graph)
        self.exact: dict[str, Tensor] = {}
        self.rounded: dict[str, Tensor] = {}

    def at_layer(self, layer: PairedLayer) -> Tensor:
        """Return the output unchanged, and keep it."""
        self.exact[layer.path], self.rounded[layer.path] = layer.exact, layer.rounded
        return layer.rounded


def layer_outputs(net: nn.Module, ranges: tuple[Range, ...], images: Tensor) -> LayerOutputs:
    """Return what each layer of a net gives for images, in float and in int8."""
    run = LayerOutputs(in_int8(net, ranges))
    run.run_on(images)
    return run
