"""Rules are data: where pairs stand, which ops stay in float, how scales look; one calibration serves all of them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeseg.compress.quantize.fake_quant_net import quant_net
from edgeseg.compress.quantize.recipe import QatRecipe
from edgeseg.core.quantization_rules import DEFAULT_RULES, QuantizationRules
from edgeseg.errors import CheckpointError, UnknownName
from edgeseg.export.observing import observe_points
from edgeseg.export.quantizing import quantize_program, ranges_of
from edgeseg.graph.float_graph import float_graph
from edgeseg.graph.quantization_points import Point, plan_quantization
from edgeseg.graph.scale_limits import unsaturated_weight_scales
from edgeseg.graph.simplify import simplify

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from edgeseg.core.quantization import Range

FUSED = dataclasses.replace(DEFAULT_RULES, fused_activations=("relu", "relu6", "hardtanh", "hardswish"))


class Small(nn.Module):
    """Hard-swish between two convolutions, a lone ReLU on a pool, and everything that has no int8 kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 1)
        self.up = nn.ConvTranspose2d(8, 4, 2, 2)

    def forward(self, image: Tensor) -> Tensor:
        x = F.relu(F.max_pool2d(self.second(F.hardswish(self.first(image.permute(0, 1, 2, 3)))), 2))
        x = F.layer_norm(x, x.shape[1:])
        x = torch.clamp(self.up(x), 0, 6)
        x += 1.0
        return torch.softmax(F.gelu(x) + F.silu(x), 1).permute(0, 2, 3, 1)


def program(net: nn.Module) -> ExportedProgram:
    torch.manual_seed(0)
    example = torch.randn(1, 3, 16, 16)
    with torch.no_grad():
        return simplify(torch.export.export(net.eval(), (example,)))


@pytest.fixture(scope="module")
def small() -> ExportedProgram:
    torch.manual_seed(0)
    return program(Small())


@pytest.fixture(scope="module")
def observed(small: ExportedProgram) -> tuple[Range, ...]:
    graph = small.module()
    return observe_points(graph, lambda: iter([torch.randn(1, 3, 16, 16).numpy()]), plan=plan_quantization(graph))


def points(small: ExportedProgram, rules: QuantizationRules) -> list[str]:
    return [point.name for point in plan_quantization(small.module(), rules=rules).points]


def test_hard_swish_is_behind_the_convolution_or_between_two_points(small: ExportedProgram) -> None:
    default, fused = points(small, DEFAULT_RULES), points(small, FUSED)
    assert "first:conv2d" in default
    assert ":hardswish" in default
    assert "first:conv2d" not in fused
    assert ":hardswish" in fused
    assert ":hardswish" in plan_quantization(small.module()).in_float
    assert ":hardswish" not in plan_quantization(small.module(), rules=FUSED).in_float


def test_everything_left_in_float_is_named(small: ExportedProgram) -> None:
    found = plan_quantization(small.module())
    kinds = {name.split(":")[1].split("#")[0] for name in found.in_float}
    assert {"layer_norm", "softmax", "gelu", "silu", "conv_transpose2d"} <= kinds
    nodes = [node for node in small.module().graph.nodes if node.op == "call_function"]
    moved = {"permute"}
    named = {name.split(":")[1].split("#")[0] for name in (*found.in_int8, *found.in_float)}
    assert {str(node.target).split(".")[1] for node in nodes} - named <= moved


def test_one_calibration_serves_other_rules(small: ExportedProgram, observed: tuple[Range, ...]) -> None:
    everything = dataclasses.replace(FUSED, float_ops=("max_pool2d",), forced_points=("layer_norm", "gelu"))
    for rules in (DEFAULT_RULES, FUSED, everything):
        made = quantize_program(small, ranges=observed, rules=rules)
        assert made.plan.points
    assert {":layer_norm", ":gelu"} <= set(points(small, everything))
    short = tuple(item for item in observed if item.name != "first:conv2d")
    with pytest.raises(CheckpointError, match=r"1 of \d+ points of this net are missing, first first:conv2d"):
        quantize_program(small, ranges=short)
    quantize_program(small, ranges=short, rules=FUSED)


def test_ranges_of_a_group_serve_rules_that_split_it(small: ExportedProgram, observed: tuple[Range, ...]) -> None:
    graph = small.module()
    found = plan_quantization(graph)
    (group,) = [point for point in found.points if len(point.nodes) > 1]
    part = Point(name=":max_pool2d", nodes=group.nodes[1:2])
    old = tuple(item for item in observed if item.name == group.name)
    (chosen,) = ranges_of(dataclasses.replace(found, points=(part,)), old, graph=graph).values()
    assert (chosen.name, chosen.low, chosen.high) == (part.name, old[0].low, old[0].high)


def test_symmetric_activations_and_whole_weights(small: ExportedProgram, observed: tuple[Range, ...]) -> None:
    rules = dataclasses.replace(DEFAULT_RULES, symmetric_activations=True, per_channel_weights=False)
    graph = quantize_program(small, ranges=observed, rules=rules).program.module().graph
    pairs = [node for node in graph.nodes if "quantize_per_tensor" in str(node.target)]
    assert pairs
    assert {node.args[2] for node in pairs if node.args[3] == -128} == {0}
    assert not [node for node in graph.nodes if "quantize_per_channel" in str(node.target)]


@pytest.mark.parametrize("shape", [(6, 8, 3, 3), (6, 7, 1, 1), (6, 1, 3, 3), (6, 5)])
def test_adjacent_products_stay_within_16_bits_on_cpus_without_vnni(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    inputs = shape[1]
    worst = torch.full(((inputs + 1) // 2, 256), -1.0)
    worst[:, 255] = 255.0
    some = torch.where(torch.rand(worst.shape) < 0.1, torch.randint(0, 256, worst.shape), -1)
    for pairs in (worst, some):
        for weight in (torch.rand(shape), -torch.rand(shape), torch.randn(shape)):
            plain = weight.abs().flatten(1).amax(1) / 127
            scales = torch.maximum(plain, unsaturated_weight_scales(weight, pairs=pairs))
            assert (scales < 2.01 * plain).all()
            stored = torch.round(weight / scales.view(-1, *[1] * (weight.dim() - 1))).reshape(shape[0], inputs, -1)
            for pair, first in (pairs >= 0).nonzero().tolist():
                sums = stored[:, 2 * pair] * first
                if 2 * pair + 1 < inputs:
                    sums = sums + stored[:, 2 * pair + 1] * float(pairs[pair, first])
                assert sums.abs().max() <= 32767
    assert not unsaturated_weight_scales(torch.rand(shape), pairs=torch.full_like(worst, -1.0)).any()


def test_scales_are_enlarged_only_where_images_need_it(small: ExportedProgram, observed: tuple[Range, ...]) -> None:
    def largest(rules: QuantizationRules, *images: Tensor) -> int:
        made = quantize_program(small, ranges=observed, rules=rules, images=images)
        weights = [item for item in made.folded_program.state_dict.values() if item.dtype == torch.int8]
        pairs = [item[:, 0::2][:, : item.shape[1] // 2].int() + item[:, 1::2].int() for item in weights]
        return max(int(item.abs().max()) for item in pairs)

    avoiding = dataclasses.replace(DEFAULT_RULES, avoid_saturation="always")
    assert (
        largest(dataclasses.replace(avoiding, float_ops=()), torch.zeros(1, 3, 16, 16)) > 128
    )  # with a transposed one
    assert largest(DEFAULT_RULES) == largest(avoiding, torch.zeros(1, 3, 16, 16)) > 128 >= largest(avoiding)
    torch.manual_seed(0)
    assert largest(avoiding) < largest(avoiding, torch.randn(1, 3, 16, 16)) < largest(DEFAULT_RULES)


def test_a_transposed_convolution_computes_in_int8_where_rules_allow_it(
    small: ExportedProgram, observed: tuple[Range, ...]
) -> None:
    rules = dataclasses.replace(DEFAULT_RULES, float_ops=())
    made = quantize_program(small, ranges=observed, rules=rules)
    assert "up:conv_transpose2d" in made.plan.in_int8
    assert "up:conv_transpose2d" in quantize_program(small, ranges=observed).plan.in_float


def test_an_unknown_op_in_rules_is_refused(small: ExportedProgram) -> None:
    with pytest.raises(UnknownName, match="Did you mean"):
        plan_quantization(small.module(), rules=QuantizationRules(float_ops=("conv3d_transpose2d",)))


class Variants(nn.Module):
    """One computation, spelled in unusual ways."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout2d(0.2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.drop(torch.clamp(x, min=0))
        y += F.adaptive_avg_pool2d(x, 1)
        return torch.clamp(F.adaptive_avg_pool2d(y, (4, 2)), 0.0, 6.0).permute(0, 2, 3, 1)


def test_functional_variants_are_simplified() -> None:
    x = torch.randn(1, 3, 16, 16)
    made = program(Variants())
    ops = [str(node.target).split(".")[1] for node in made.graph.nodes if node.op == "call_function"]
    assert ops == ["relu", "mean", "add", "avg_pool2d", "hardtanh", "permute"]
    with torch.no_grad():
        torch.testing.assert_close(made.module()(x), Variants().eval()(x))


class KeptNorm(nn.Module):
    """A batch norm that cannot be folded: its convolution's output is read elsewhere, or its weights serve twice."""

    def __init__(self, *, twice: bool) -> None:
        super().__init__()
        self.conv, self.norm, self.last = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1)
        self.twice = twice
        with torch.no_grad():
            assert self.norm.running_mean is not None
            assert self.norm.running_var is not None
            self.norm.running_mean.copy_(torch.tensor([2.0, -1.0, 0.5]))
            self.norm.running_var.copy_(torch.tensor([0.1, 4.0, 0.5]))

    def forward(self, image: Tensor) -> Tensor:
        x = self.conv(image.permute(0, 1, 2, 3))
        y = F.relu(self.norm(x))
        z: Tensor = self.last(y + (self.conv(y) if self.twice else x))
        return z.permute(0, 2, 3, 1)


@pytest.mark.parametrize("twice", [False, True])
def test_a_norm_that_was_not_folded_is_not_folded_by_torchao(twice: bool) -> None:
    torch.manual_seed(0)
    images = torch.randn(4, 3, 8, 8)
    with torch.no_grad():
        program = simplify(torch.export.export(KeptNorm(twice=twice).eval(), (images[:1],)))
        graph = program.module()
        ranges = observe_points(graph, lambda: iter(images[:, None].numpy()), plan=plan_quantization(graph))
        made = quantize_program(program, ranges=ranges)
        wanted, found = graph(images[:1]), made.program.module()(images[:1])
    assert float((found - wanted).abs().mean() / wanted.std()) < 0.03


@pytest.mark.parametrize("twice", [False, True])
def test_a_net_with_a_norm_that_was_not_folded_is_trained_through_int8(twice: bool) -> None:
    torch.manual_seed(0)
    net, images = KeptNorm(twice=twice).eval(), torch.randn(4, 3, 8, 8)
    with torch.no_grad():
        graph = float_graph(net, size=(8, 8))
        ranges = observe_points(graph, lambda: iter(images[:, None].numpy()), plan=plan_quantization(graph))
        made = quant_net(net, size=(8, 8), ranges=ranges, recipe=QatRecipe())
        wanted, found = net(images), made(images)
    assert float((found - wanted).abs().mean() / wanted.std()) < 0.03
    made(images).sum().backward()
    assert made.layers == 2, "a layer that serves twice is one"
