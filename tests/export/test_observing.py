"""Points, ranges and scales."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from contracts.deployable import deployable, images
from torch import Tensor, nn
from torch.fx import GraphModule

from edgeseg.errors import CheckpointError
from edgeseg.export.export import deploy, export_program
from edgeseg.export.observing import ABSOLUTE, BINS, Histogram, least_error_range, observe_points
from edgeseg.graph.quantization_points import IMAGE, plan_quantization, useful_span
from edgeseg.graph.scale_limits import affine

if TYPE_CHECKING:
    from edgeseg.core.spec import ModelSpec


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    return deployable().spec


@pytest.fixture(scope="module")
def graph() -> GraphModule:
    checkpoint = deployable()
    return export_program(deploy(checkpoint, spec=checkpoint.spec, output="logits"), spec=checkpoint.spec).module()


def test_pools_resizes_and_concatenation_share_one_scale(graph: GraphModule) -> None:
    groups = [point for point in plan_quantization(graph).points if len(point.nodes) > 1]
    assert [(point.name, len(point.nodes)) for point in groups] == [
        ("net.features.8:add", 14),  # the pyramid: its input, 4 pools, 4 projections, 4 resizes, 1 concatenation
        ("net.pyramid.fuse.2:relu", 2),
    ]


def test_names_do_not_depend_on_the_size(graph: GraphModule) -> None:
    other = deployable(size=(96, 64))
    program = export_program(deploy(other, spec=other.spec, output="labels"), spec=other.spec)
    names = [point.name for point in plan_quantization(graph).points]
    assert [point.name for point in plan_quantization(program.module()).points] == names
    assert len(set(names)) == len(names)


def test_order_of_images_does_not_change_ranges(graph: GraphModule, spec: ModelSpec) -> None:
    found, tensors = plan_quantization(graph), images(spec, count=3)
    forward = observe_points(graph, lambda: iter(tensors), plan=found)
    assert observe_points(graph, lambda: reversed(tensors), plan=found) == forward


def test_infinite_values_do_not_widen_and_no_numbers_are_refused(spec: ModelSpec) -> None:
    seen = Histogram()
    seen.widen(torch.tensor([-torch.inf, -0.5, 2.0, torch.inf]))
    seen.widen(torch.tensor([-torch.inf]))
    assert (seen.low, seen.high, seen.has_nan) == (-0.5, 2.0, False)
    seen.count(torch.tensor([-torch.inf, 1.0]))
    assert seen.counts.sum() == 1
    checkpoint = deployable()
    with torch.no_grad():
        next(checkpoint.net.parameters())[0] = torch.nan
    broken = export_program(deploy(checkpoint, spec=checkpoint.spec, output="logits"), spec=checkpoint.spec).module()
    with pytest.raises(CheckpointError, match=r"no numbers \(NaN\) on a calibration image"):
        observe_points(broken, lambda: iter(images(spec, count=1)), plan=plan_quantization(broken))


def test_exact_points_keep_their_extremes(graph: GraphModule, spec: ModelSpec) -> None:
    found, tensors = plan_quantization(graph), images(spec, count=1)
    last = found.points[-1].name
    (logits,) = [item for item in observe_points(graph, lambda: iter(tensors), plan=found, exact=(last,))
                 if item.name == last]  # fmt: skip
    with torch.no_grad():
        answer = graph(torch.from_numpy(tensors[0]))
    assert (logits.low, logits.high) == pytest.approx((answer.min().item(), answer.max().item()))


def test_a_lone_outlier_is_clipped_and_a_flat_histogram_is_not() -> None:
    counts = np.ones(BINS)
    assert least_error_range(Histogram(low=-1.0, high=1.0, counts=counts)) == pytest.approx((-1.0, 1.0), abs=0.05)
    counts = np.zeros(BINS)
    counts[: BINS // 2] = 1000.0
    counts[-1] = 1.0
    low, high = least_error_range(Histogram(low=0.0, high=10.0, counts=counts))
    assert low == 0.0
    assert 4.9 < high < 10.0


def test_the_absolute_error_cuts_off_what_the_squared_one_keeps() -> None:
    counts = np.zeros(BINS)
    counts[: BINS // 100] = 1000.0
    counts[-1] = 5.0
    found = Histogram(low=0.0, high=100.0, counts=counts)
    assert least_error_range(found)[1] > 90.0
    assert least_error_range(found, power=ABSOLUTE)[1] < 10.0


@pytest.mark.parametrize(("peaks", "most"), [(True, 10.0), (False, 110.0)])
def test_a_few_peaks_do_not_cost_the_others_their_steps_where_the_labels_say_so(peaks: bool, most: float) -> None:
    """Two classes told apart by values around 0.1: in steps of 100 / 255 they would be one."""

    class Net(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            doubled = self.made(x.permute(0, 3, 1, 2))
            return self.read(doubled).permute(0, 2, 3, 1)

        def __init__(self) -> None:
            super().__init__()
            self.made, self.read = nn.Conv2d(3, 1, 1, bias=False), nn.Conv2d(1, 2, 1)
            with torch.no_grad():
                self.made.weight.copy_(torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1))
                self.read.weight.copy_(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1))
                self.read.bias.copy_(torch.tensor([-0.1, 0.1]))

    torch.manual_seed(0)
    x = torch.zeros(1, 64, 64, 3)
    x[..., 0] = 0.2 * torch.rand(64, 64) if peaks else 100.0 * torch.rand(64, 64)
    if peaks:
        x[0, 0, :2, 0] = 100.0
    graph = torch.export.export(Net().eval(), (x,)).module()
    assert isinstance(graph, GraphModule)
    found = {
        item.name: item for item in observe_points(graph, lambda: iter([x.numpy()]), plan=plan_quantization(graph))
    }
    assert found["made:conv2d"].high < most
    assert found["made:conv2d"].high > (0.15 if peaks else 90.0)


def test_known_ranges_are_taken(graph: GraphModule, spec: ModelSpec) -> None:
    found, tensors = plan_quantization(graph), images(spec, count=1)
    observed = observe_points(graph, lambda: iter(tensors), plan=found, known={IMAGE: (-7.0, 9.0)})
    assert [(item.low, item.high) for item in observed if item.name == IMAGE] == [(-7.0, 9.0)]


@pytest.mark.parametrize(("low", "high"), [(0.0, 6.0), (-1.0, 3.0), (2.0, 5.0), (-4.0, -1.0), (0.0, 0.0)])
def test_scales_span_the_range_and_hold_zero_exactly(low: float, high: float) -> None:
    scale, zero_point = affine(low, high)
    assert -128 <= zero_point <= 127
    assert scale * (-128 - zero_point) <= min(low, 0.0) + scale
    assert scale * (127 - zero_point) >= max(high, 0.0) - scale


@pytest.mark.parametrize(("activation", "span"), [(nn.Hardswish(), (-3.0, None)), (nn.Hardsigmoid(), (-3.0, 3.0))])
def test_a_range_ends_where_its_reader_no_longer_tells_values_apart(
    activation: nn.Module, span: tuple[float, float | None]
) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 1), activation).eval()
    x = 40 * torch.rand(1, 3, 8, 8) - 20
    graph = torch.export.export(net, (x,)).module()
    assert isinstance(graph, GraphModule)
    found = plan_quantization(graph)
    with torch.no_grad():
        made = net[0](x)
    assert made.min() < -4
    assert made.max() > 4
    (first,) = [item for item in observe_points(graph, lambda: iter([x.numpy()]), plan=found, exact=["0:conv2d"])
                if item.name == "0:conv2d"]  # fmt: skip
    assert first.low == span[0]
    assert first.high == pytest.approx(span[1] or made.max().item())


def test_a_range_that_somebody_else_reads_is_left_whole() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.act = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1), nn.Hardswish()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            made = self.first(x)
            return self.second(made) + self.second(self.act(made))

    graph = torch.export.export(Both().eval(), (torch.rand(1, 3, 8, 8),)).module()
    assert isinstance(graph, GraphModule)
    (point,) = [item for item in plan_quantization(graph).points if item.name == "first:conv2d"]
    assert useful_span(point) == (float("-inf"), float("inf"))
