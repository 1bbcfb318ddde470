"""Fast-SCNN against table 1 of its paper."""

from __future__ import annotations

import pytest
from contracts.model_contract import ModelContract
from torch import nn

from edgeseg.models import build, cost
from edgeseg.models.nets.fast_scnn import FastSCNN, LinearBottleneck

# Table 1: operator, output channels, repeats, stride.
TABLE_1 = (
    ("conv2d", 32, 1, 2),
    ("dsconv", 48, 1, 2),
    ("dsconv", 64, 1, 2),
    ("bottleneck", 64, 3, 2),
    ("bottleneck", 96, 3, 2),
    ("bottleneck", 128, 3, 1),
    ("ppm", 128, 1, 1),
    ("ffm", 128, 1, 1),
    ("dsconv", 128, 2, 1),
    ("conv2d", 19, 1, 1),
)
PUBLISHED_PARAMETERS = 1.11e6


class TestFastSCNN(ModelContract):
    name = "fast_scnn"


@pytest.fixture(scope="module")
def net() -> FastSCNN:
    built = build("fast_scnn", classes=19, size=(1024, 2048))
    assert isinstance(built, FastSCNN)
    return built


def _row(operator: str, block: nn.Module) -> tuple[str, int, int]:
    convs = [module for module in block.modules() if isinstance(module, nn.Conv2d)]
    return operator, convs[-1].out_channels, max(conv.stride[0] for conv in convs)


def test_layers_are_those_of_table_1(net: FastSCNN) -> None:
    published = [
        (operator, channels, stride if repeat == 0 else 1)
        for operator, channels, repeats, stride in TABLE_1
        for repeat in range(repeats)
    ]
    built = [_row("conv2d" if index == 0 else "dsconv", block) for index, block in enumerate(net.downsample)]
    built += [_row("bottleneck", block) for block in net.features]
    built += [("ppm", net.pyramid.fuse[0].out_channels, 1), ("ffm", net.fusion.high[0].out_channels, 1)]
    built += [_row("dsconv", net.classifier[0]), _row("dsconv", net.classifier[1])]
    built += [_row("conv2d", net.classifier[3])]
    assert built == published


def test_bottlenecks_expand_by_six_with_residuals_where_shapes_agree(net: FastSCNN) -> None:
    blocks = [block for block in net.features if isinstance(block, LinearBottleneck)]
    for block in blocks:
        expand, depthwise = block.block[0][0], block.block[1][0]
        assert expand.out_channels == 6 * expand.in_channels
        assert (depthwise.groups, depthwise.kernel_size) == (depthwise.in_channels, (3, 3))
    assert [block.residual for block in blocks] == [False, True, True] * 3


def test_no_non_linearity_between_depthwise_and_pointwise(net: FastSCNN) -> None:
    for block in (*net.downsample[1:], *net.classifier[:2]):
        assert [type(module) for module in block[0]] == [nn.Conv2d, nn.BatchNorm2d]


def test_parameters_are_the_published_ones(net: FastSCNN) -> None:
    measured = cost(net, size=(1024, 2048))
    norms = sum(2 * module.num_features for module in net.modules() if isinstance(module, nn.BatchNorm2d))
    print(
        f"Fast-SCNN: {measured.parameters / 1e6:.3f} M, without batch norm {(measured.parameters - norms) / 1e6:.3f} M"
    )
    print(f"published {PUBLISHED_PARAMETERS / 1e6:.2f} M; {measured.macs / 1e9:.2f} GMACs at 1024x2048")
    # The paper's count is that of the convolutions; batch norm adds 2 %.
    assert round((measured.parameters - norms) / 1e6, 2) == PUBLISHED_PARAMETERS / 1e6
    assert measured.parameters == 1_137_795
    assert measured.macs == pytest.approx(6.71e9, rel=0.005)
