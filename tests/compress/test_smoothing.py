"""Smoothing: outlier channels behind layer norms move into weights, and the outputs stay."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from edgeseg.compress.quantize.fake_quant_net import quant_net
from edgeseg.compress.quantize.recipe import QatRecipe
from edgeseg.compress.quantize.smoothing import smooth
from edgeseg.errors import InputError
from edgeseg.export.observing import observe_points
from edgeseg.graph.float_graph import float_graph
from edgeseg.graph.quantization_points import plan_quantization
from edgeseg.models.encoders.mit import MitStage, MixBlock, MixTransformer

SIZE = (16, 24)


class Tiny(nn.Module):
    """One transformer block with reduced keys and values between two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.merge = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.block = MixBlock(8, heads=2, reduction=2, grid=(8, 12))
        self.classifier = nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.merge(x).flatten(2).transpose(1, 2)
        y: Tensor = self.classifier(self.block(tokens).transpose(1, 2).unflatten(2, (8, 12)))
        return y


def with_outliers() -> nn.Module:
    """Return the net with one channel of its layer norms 60 times as large as the others, as trained ones have."""
    torch.manual_seed(0)
    net = Tiny().eval()
    with torch.no_grad():
        for norm in (net.block.norm1, net.block.norm2):
            norm.weight[3] *= 60
        for reader in (net.block.attention.query, net.block.attention.reduce, net.block.feed_forward.expand):
            reader.weight[:, 3] /= 60
    return net


def logits_sqnr(net: nn.Module, x: Tensor) -> float:
    """Return the SQNR in dB of the int8 net's logits."""
    graph = float_graph(net, size=SIZE)
    ranges = observe_points(graph, lambda: iter([x.numpy()]), plan=plan_quantization(graph), observer="minmax")
    rounded = quant_net(net, size=SIZE, ranges=ranges, recipe=QatRecipe(mode="ema")).eval()
    with torch.no_grad():
        wanted = net(x)
        return float(10 * ((wanted.square().mean()) / (rounded(x) - wanted).square().mean()).log10())


def test_outliers_move_into_the_weights_and_the_logits_stay() -> None:
    net, x = with_outliers(), torch.rand(2, 3, *SIZE)
    before = copy.deepcopy(net)
    links = {item.link: item for item in smooth(net, [x], size=SIZE)}
    attention, forward = "block.attention", "block.feed_forward"
    first = links[f"block.norm1 -> {attention}.reduce, {attention}.query"]
    assert set(links) == {
        first.link,
        f"{attention}.norm -> {attention}.key, {attention}.value",
        f"block.norm2 -> {forward}.expand",
        f"{forward}.expand -> {forward}.depthwise",
    }
    assert first.spread_before > 20
    assert first.spread_after < 0.5 * first.spread_before
    with torch.no_grad():
        torch.testing.assert_close(net(x), before(x), rtol=1e-4, atol=1e-5)
    assert logits_sqnr(net, x) > logits_sqnr(before, x) + 3


def test_stages_of_a_mix_transformer_are_linked_to_the_next_ones() -> None:
    torch.manual_seed(0)
    stages = tuple(
        MitStage(kernel=3, stride=2, channels=8 * (index + 1), blocks=1, heads=1, reduction=1) for index in range(2)
    )

    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.head = MixTransformer(stages, size=SIZE), nn.Conv2d(16, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.head(self.encoder(x)[-1])
            return y

    found = [item.link for item in smooth(Encoder().eval(), [torch.rand(2, 3, *SIZE)], size=SIZE)]
    assert "encoder.stages.0.norm -> encoder.stages.1.merge" in found
    assert "encoder.stages.1.norm -> head" in found
    assert not any("merge_norm" in link for link in found)  # residuals read it too


def test_a_norm_that_something_else_reads_or_that_is_called_twice_is_left_alone() -> None:
    class Shared(nn.Module):
        def __init__(self, *, twice: bool) -> None:
            super().__init__()
            self.norm, self.linear, self.twice = nn.LayerNorm(3), nn.Linear(3, 3), twice

        def forward(self, x: Tensor) -> Tensor:
            y = self.norm(x.permute(0, 2, 3, 1))
            y = self.linear(self.norm(y) if self.twice else y) + (0 if self.twice else y)
            return y.permute(0, 3, 1, 2)

    for twice in (True, False):
        with pytest.raises(InputError, match="no layer norm whose channels"):
            smooth(Shared(twice=twice).eval(), [torch.rand(2, 3, 4, 4)], size=(4, 4))
