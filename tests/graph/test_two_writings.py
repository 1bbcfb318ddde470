"""The same net written in two ways is folded, quantized, pruned, trained and equalized in the same way."""

from __future__ import annotations

import copy

import pytest
import torch
from graph.two_writings import NORMS, SIZE, both, noise
from torch import nn

from edgeseg.compress.prune.channel_groups import Dependencies
from edgeseg.compress.prune.channel_selection import ChannelSelection, SelectionRules, select_global
from edgeseg.compress.prune.importance import norm_gains, score_channels
from edgeseg.compress.quantize.cross_layer_equalization import equalize
from edgeseg.compress.quantize.fake_quant_net import quant_net
from edgeseg.compress.quantize.recipe import QatRecipe
from edgeseg.compress.quantize.unfold import unfolded
from edgeseg.export.observing import observe_points
from edgeseg.graph.batch_norm_folding import fold_batch_norms
from edgeseg.graph.float_graph import float_graph
from edgeseg.graph.gates import find_gates
from edgeseg.graph.layer_shapes import layer_shapes
from edgeseg.graph.norms import BatchNorm, find_norms
from edgeseg.graph.quantization_points import plan_quantization


@pytest.fixture
def nets() -> tuple[nn.Module, nn.Module]:
    return both()


def widths(net: nn.Module) -> tuple[dict[str, torch.Tensor], list[int], tuple[int, ...]]:
    """Return scores by group, channels left in each group, and how many norms importance saw."""
    groups = Dependencies(net, size=SIZE).groups
    scores = score_channels(net, groups, importance="magnitude", size=SIZE)
    shapes = layer_shapes(net, size=SIZE)
    rules = SelectionRules(round_to=8, least={group.name: 8 for group in groups}, latency_weight=0.5, relative=True)
    start = ChannelSelection(groups=groups, scores=scores, shapes=shapes, rules=rules)

    def price(shape: object) -> float:
        return float(shape.macs)  # type: ignore[attr-defined]

    limit = 0.5 * sum(map(price, shapes.values()))
    chosen = select_global(start, price=price, weight_by=price, limit=limit)
    removed = chosen.channels()
    return scores, [group.channels - len(removed.get(group.name, ())) for group in groups], (len(groups),)


def test_no_norm_is_left_and_the_labels_stay(nets: tuple[nn.Module, nn.Module]) -> None:
    x = noise()
    with torch.no_grad():
        before = [net(x) for net in nets]
        folded = [fold_batch_norms(net, size=SIZE) for net in nets]
        after = [net(x) for net in folded]
    assert torch.equal(*before)
    for net in folded:
        assert not [module for module in net.modules() if isinstance(module, BatchNorm)]
    assert torch.equal(*after)
    torch.testing.assert_close(after[0], before[0], rtol=1e-4, atol=1e-4)
    assert torch.equal(after[0].argmax(1), before[0].argmax(1))


def test_int8_reaches_the_same_ops(nets: tuple[nn.Module, nn.Module]) -> None:
    first, second = (plan_quantization(float_graph(net, size=SIZE)) for net in nets)
    ops = [[name.split(":")[1].split("#")[0] for name in found.in_int8] for found in (first, second)]
    assert ops[0] == ops[1]
    assert ops[0].count("conv2d") == 10
    assert ops[0].count("linear") == 2
    floating = [name.split(":")[1].split("#")[0] for name in second.in_float]
    assert floating == ["sigmoid", "sigmoid"]


def test_pruning_sees_every_norm_and_chooses_the_same_widths(nets: tuple[nn.Module, nn.Module]) -> None:
    assert [len(norm_gains(net, size=SIZE)) for net in nets] == [NORMS, NORMS]
    assert [find_norms(net, size=SIZE).kept for net in nets] == [(), ()]
    (first, mine, _), (second, other, _) = (widths(net.requires_grad_(True)) for net in nets)
    assert mine == other
    assert min(mine) < 32
    for one, two in zip(first.values(), second.values(), strict=True):
        torch.testing.assert_close(one, two)


def test_layers_have_the_same_shapes_and_activations(nets: tuple[nn.Module, nn.Module]) -> None:
    first, second = (list(layer_shapes(net, size=SIZE).values()) for net in nets)
    assert first == second
    assert [shape.activation for shape in first].count("ReLU") == 8


def test_quantization_aware_training_learns_and_unfolds(nets: tuple[nn.Module, nn.Module]) -> None:
    _, net = nets
    graph = float_graph(net, size=SIZE)
    ranges = observe_points(graph, lambda: iter([noise().numpy()]), plan=plan_quantization(graph))
    trained = quant_net(net, size=SIZE, ranges=ranges, recipe=QatRecipe()).train()
    optimizer = torch.optim.SGD(trained.parameters(), lr=0.05)
    losses = []
    for _ in range(4):
        optimizer.zero_grad()
        loss = trained(noise()).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    weights = trained.weights()
    again = fold_batch_norms(unfolded(copy.deepcopy(net), weights, size=SIZE), size=SIZE).state_dict()
    assert all(torch.equal(again[key], value) for key, value in weights.items())


def test_equalization_keeps_the_logits_of_both(nets: tuple[nn.Module, nn.Module]) -> None:
    x = noise()
    with torch.no_grad():
        before = nets[1](x)
        links = [len(equalize(net, [x], size=SIZE)) for net in nets]
        torch.testing.assert_close(nets[1](x), before, rtol=1e-3, atol=1e-3)
    assert links[0] == links[1] > 0


def test_a_gate_of_linear_layers_is_found(nets: tuple[nn.Module, nn.Module]) -> None:
    for net in nets:
        (gate,), unfit = find_gates(float_graph(net, size=SIZE))
        assert gate.module == "semantic.1"
        assert gate.reader.startswith("semantic.2.")
        assert not unfit
