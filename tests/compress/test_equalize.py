"""Cross-layer equalization: the same answers, from channels that int8 rounds more alike."""

from __future__ import annotations

import copy
from collections import OrderedDict

import pytest
import torch
from torch import Tensor, nn

from edgeseg.compress.quantize.cross_layer_equalization import Link, equalize, find_links
from edgeseg.compress.quantize.fake_quant_net import quant_net
from edgeseg.compress.quantize.recipe import QatRecipe
from edgeseg.errors import InputError
from edgeseg.export.observing import observe_points
from edgeseg.graph.float_graph import float_graph
from edgeseg.graph.quantization_points import plan_quantization
from edgeseg.models import build

SIZE = (64, 64)


def settled(net: nn.Module) -> nn.Module:
    """Return the net with batch norms as unlike each other as a trained one's."""
    torch.manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
    return net.eval()


def block(norm: bool = True) -> nn.Sequential:
    """Return expand, depthwise, project."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 1, bias=not norm),
        nn.BatchNorm2d(8) if norm else nn.Identity(),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.ReLU(),
        nn.Conv2d(8, 5, 1),
    ).eval()


def links(net: nn.Module) -> list[tuple[str, tuple[str, ...]]]:
    return [(link.maker, link.readers) for link in find_links(float_graph(net, size=SIZE))]


def int8_error(net: nn.Module, x: Tensor) -> float:
    """Return the mean squared error of the int8 net's logits."""
    graph = float_graph(net, size=SIZE)
    ranges = observe_points(graph, lambda: iter([x.numpy()]), plan=plan_quantization(graph))
    rounded = quant_net(net, size=SIZE, ranges=ranges, recipe=QatRecipe()).eval()
    with torch.no_grad():
        return float((rounded(x) - net(x)).square().mean())


def test_a_chain_of_convolutions_is_linked_and_its_last_one_is_not() -> None:
    assert links(block()) == [("0", ("3",)), ("3", ("5",))]


@pytest.mark.parametrize("norm", [True, False])
def test_a_channel_that_dwarfs_the_others_no_longer_costs_them_their_steps(norm: bool) -> None:
    net = block(norm)
    made = net[1] if norm else net[0]
    with torch.no_grad():
        for parameter in (made.weight, made.bias):  # type: ignore[union-attr]
            parameter[2] *= 50  # type: ignore[index]
        net[3].weight[2] /= 50  # type: ignore[index,operator]
    x = torch.rand(4, 3, *SIZE)
    before = copy.deepcopy(net)
    first, second = equalize(net, [x], size=SIZE)
    with torch.no_grad():
        torch.testing.assert_close(net(x), before(x))
    assert first.spread_before > 20
    assert first.spread_after == pytest.approx(1.0)
    assert second.spread_after <= second.spread_before
    assert int8_error(net, x) < 0.2 * int8_error(before, x)


def test_squeeze_and_excitation_is_linked_through_its_gate_and_hard_swish_parts() -> None:
    net = settled(build("lraspp_mobilenet_v3_small", classes=3, size=SIZE))
    found = dict(links(net))
    first = "encoder.features.1.block"
    assert found[f"{first}.0.0"] == (f"{first}.1.fc1", f"{first}.2.0")
    assert "encoder.features.0.0" not in found  # hard-swish
    assert "encoder.features.2.block.2.0" not in found  # its output is also added to another
    x = torch.rand(2, 3, *SIZE)
    with torch.no_grad():
        before = net(x)
        equalize(net, [x], size=SIZE)
        torch.testing.assert_close(net(x), before, atol=1e-4, rtol=1e-4)


def test_a_dead_channel_stays_finite() -> None:
    net = block(norm=False)
    with torch.no_grad():
        net[0].weight[3], net[0].bias[3] = 0.0, 0.0  # type: ignore[index,operator]
    equalize(net, [torch.rand(2, 3, *SIZE)], size=SIZE)
    assert all(value.isfinite().all() for value in net.state_dict().values())


def test_a_reader_that_is_not_seen_is_found_by_the_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    net = block()
    graph = float_graph(net, size=SIZE)
    (link, _) = find_links(graph)
    wrong = Link(maker=link.maker, readers=("5",), output=link.output)
    monkeypatch.setattr(
        "edgeseg.compress.quantize.cross_layer_equalization.find_links", lambda graph: (find(graph, wrong),)
    )
    with pytest.raises(InputError, match="changed the net's logits"):
        equalize(net, [torch.rand(2, 3, *SIZE)], size=SIZE)


def find(graph: torch.fx.GraphModule, wrong: Link) -> Link:
    """Return the wrong link, with its node in the graph at hand."""
    (node,) = [item for item in graph.graph.nodes if item.name == wrong.output.name]
    return Link(maker=wrong.maker, readers=wrong.readers, output=node)


def test_without_images_it_says_so() -> None:
    with pytest.raises(InputError, match="none was given"):
        equalize(block(), [], size=SIZE)


def test_blocks_with_named_children_keep_their_answers() -> None:
    names = ("expand", "norm", "relu", "depthwise", "relu2", "project")
    net = settled(nn.Sequential(OrderedDict(zip(names, block(), strict=True))))
    x = torch.rand(2, 3, *SIZE)
    before = net(x)
    assert [item.link for item in equalize(net, [x], size=SIZE)] == ["expand -> depthwise", "depthwise -> project"]
    torch.testing.assert_close(net(x), before, rtol=1e-4, atol=1e-4)


def test_a_net_without_links_is_refused() -> None:
    with pytest.raises(InputError, match="no channels to equalize"):
        equalize(nn.Sequential(nn.Conv2d(3, 4, 3)).eval(), [torch.rand(2, 3, *SIZE)], size=SIZE)
