"""AdaRound: every layer's output is closer to the float net's than with the nearest steps."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import pytest
import torch
from compress.small_rounded import SIZE, in_int8, layer_outputs, ranges_on, rough_net, smooth_images
from torch import Tensor, nn

from edgeseg.compress.prune.sparsity import apply_masks, magnitude_masks
from edgeseg.compress.quantize.adaround import round_adaptively
from edgeseg.compress.quantize.paired_run import PairedLayer, PairedRun
from edgeseg.compress.quantize.patches import sampled_patches
from edgeseg.errors import InputError

if TYPE_CHECKING:
    from edgeseg.compress.quantize.fake_quant_net import QuantNet

STEPS = 150


def test_every_layer_is_closer_than_with_the_nearest_steps() -> None:
    net, images = rough_net(), smooth_images()
    ranges = ranges_on(net, images)
    rounded, layers = round_adaptively(copy.deepcopy(net), images, size=SIZE, ranges=ranges, steps=STEPS, seed=3)
    assert [item.layer for item in layers] == ["0", "3", "6"]
    assert all(item.error <= item.nearest_error for item in layers)
    assert sum(item.error for item in layers) < 0.9 * sum(item.nearest_error for item in layers)
    with torch.no_grad():
        wanted = net(images)
        nearest = (in_int8(net, ranges)(images) - wanted).square().mean()
        error = (in_int8(rounded, ranges)(images) - wanted).square().mean()
    assert error < 0.95 * nearest
    # The weights are on the steps that conversion finds: rounding them again changes nothing.
    outputs = layer_outputs(rounded, ranges, images)
    first = outputs.exact["net.0"]
    assert (first - outputs.rounded["net.0"]).abs().max() < 0.01 * first.abs().max()
    again, _ = round_adaptively(copy.deepcopy(net), images, size=SIZE, ranges=ranges, steps=STEPS, seed=3)
    assert all(
        torch.equal(a, b) for a, b in zip(rounded.state_dict().values(), again.state_dict().values(), strict=True)
    )


def test_the_zeros_of_a_sparse_net_stay() -> None:
    net, images = rough_net(), smooth_images()
    masks = magnitude_masks(net, sparsity=0.5)
    apply_masks(net, masks)
    rounded, layers = round_adaptively(net, images, size=SIZE, ranges=ranges_on(net, images), steps=500, seed=3)
    assert all(item.error < item.nearest_error for item in layers)  # each layer was fitted
    for name, mask in masks.items():
        weight = rounded.get_submodule(name).weight
        assert isinstance(weight, Tensor)
        assert not weight[~mask].any()


class Errors(PairedRun):
    """Each layer's squared error, of its whole output and of its patches at all places, by path."""

    def __init__(self, net: QuantNet) -> None:
        super().__init__(net.graph)
        self.found: dict[str, tuple[float, float]] = {}

    def at_layer(self, layer: PairedLayer) -> Tensor:
        """Return the output unchanged, after computing its error twice."""
        patches = sampled_patches(layer, places=10**6, random=torch.Generator().manual_seed(0))
        assert patches is not None
        whole = (layer.rounded - layer.exact).square().mean()
        self.found[layer.path] = float(whole), float(patches.error(layer.fake(layer.weight)))
        return layer.rounded


@pytest.mark.parametrize("padding", [(1, 2), "same"])
def test_patches_compute_what_the_layer_does(padding: tuple[int, int] | str) -> None:
    class Net(nn.Module):
        """Groups, strides, dilation, and a linear layer over channels."""

        def __init__(self) -> None:
            super().__init__()
            stride = 1 if padding == "same" else (2, 1)
            self.first = nn.Conv2d(3, 8, (3, 5), padding=padding, stride=stride, dilation=(2, 1))
            self.second = nn.Conv2d(8, 6, 3, groups=2, bias=False)
            self.linear = nn.Linear(6, 5)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.linear(self.second(self.first(x)).permute(0, 2, 3, 1))
            return y.permute(0, 3, 1, 2)

    torch.manual_seed(0)
    net, images = Net().eval(), smooth_images(2)
    run = Errors(in_int8(net, ranges_on(net, images)))
    run.run_on(images)
    assert set(run.found) == {"net.first", "net.second", "net.linear"}
    assert all(patches == pytest.approx(whole, rel=1e-3) for whole, patches in run.found.values())


def test_a_net_without_int8_layers_is_refused() -> None:
    net, images = nn.Sequential(nn.Sigmoid()).eval(), smooth_images(2)
    with pytest.raises(InputError, match="No layer of this net computes in int8"):
        round_adaptively(net, images, size=SIZE, ranges=(), steps=1)
