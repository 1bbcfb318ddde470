"""LR-ASPP and its encoders against tables 1, 2 and 8 of the MobileNetV3 paper."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from contracts.model_contract import ModelContract
from torch import nn

from edgeseg.errors import CheckpointError, InputError, UnsupportedError
from edgeseg.models import build, cost, load_encoder
from edgeseg.models.encoders.mobilenet_v3 import InvertedResidual, MobileNetV3, SqueezeExcite
from edgeseg.models.nets.lraspp import LRASPP, LRASPPHead

if TYPE_CHECKING:
    from pathlib import Path

# Kernel, expansion size, output channels, squeeze and excite, activation, stride.
TABLE_1_LARGE = """
3 16 16 - RE 1 | 3 64 24 - RE 2 | 3 72 24 - RE 1 | 5 72 40 SE RE 2 | 5 120 40 SE RE 1 | 5 120 40 SE RE 1
3 240 80 - HS 2 | 3 200 80 - HS 1 | 3 184 80 - HS 1 | 3 184 80 - HS 1 | 3 480 112 SE HS 1 | 3 672 112 SE HS 1
5 672 160 SE HS 2 | 5 960 160 SE HS 1 | 5 960 160 SE HS 1
"""
TABLE_2_SMALL = """
3 16 16 SE RE 2 | 3 72 24 - RE 2 | 3 88 24 - RE 1 | 5 96 40 SE HS 2 | 5 240 40 SE HS 1 | 5 240 40 SE HS 1
5 120 48 SE HS 1 | 5 144 48 SE HS 1 | 5 288 96 SE HS 2 | 5 576 96 SE HS 1 | 5 576 96 SE HS 1
"""
TABLES = {"large": TABLE_1_LARGE, "small": TABLE_2_SMALL}
# Table 8, rows with the reduced last stage and 128 head filters: parameters, multiply-adds at 1024x2048.
TABLE_8 = {"large": (1.51e6, 9.74e9), "small": (0.47e6, 2.90e9)}


class TestLRASPPSmall(ModelContract):
    name = "lraspp_mobilenet_v3_small"


class TestLRASPPLarge(ModelContract):
    name = "lraspp_mobilenet_v3_large"


def _published(variant: str) -> list[list[str]]:
    return [row.split() for line in TABLES[variant].strip().splitlines() for row in line.split("|")]


def _as_published(block: InvertedResidual, *, given_up: bool) -> list[str]:
    convs = [module for module in block.block if isinstance(module, nn.Sequential)]
    depthwise, activation = convs[-2][0], convs[-2][2]
    stride = 2 if given_up else depthwise.stride[0]
    squeezed = any(isinstance(module, SqueezeExcite) for module in block.block)
    return [
        str(depthwise.kernel_size[0]),
        str(depthwise.out_channels),
        str(convs[-1][0].out_channels),
        "SE" if squeezed else "-",
        {nn.ReLU: "RE", nn.Hardswish: "HS"}[type(activation)],
        str(stride),
    ]


@pytest.mark.parametrize("variant", ["large", "small"])
def test_bottlenecks_are_those_of_the_tables(variant: str) -> None:
    blocks = [block for block in MobileNetV3(variant).features if isinstance(block, InvertedResidual)]
    strided = max(index for index, row in enumerate(_published(variant)) if row[-1] == "2")
    built = [_as_published(block, given_up=i == strided) for i, block in enumerate(blocks)]
    assert built == _published(variant)
    # Segmentation: the last stage keeps the grid at stride 16, and what follows its first row dilates instead.
    assert [i for i, block in enumerate(blocks) if _dilation(block) == 2] == list(range(strided + 1, len(blocks)))


def _dilation(block: nn.Module) -> int:
    return max(module.dilation[0] for module in block.modules() if isinstance(module, nn.Conv2d))


@pytest.mark.parametrize("variant", ["large", "small"])
def test_giving_up_the_last_stride_keeps_what_the_weights_compute(variant: str) -> None:
    torch.manual_seed(0)
    encoder = MobileNetV3(variant).eval()
    squeezes = [module for module in encoder.modules() if isinstance(module, SqueezeExcite)]
    for squeeze in squeezes:
        # A gate is a mean over the whole grid, which a finer grid changes a little; held open, the rest is exact.
        squeeze.fc2.bias.data.fill_(10.0)
    x = torch.randn(1, 3, 128, 128)
    with torch.no_grad():
        dense = encoder(x)[2]
        first = next(block for block in encoder.features if isinstance(block, InvertedResidual) and _gives_up(block))
        _depthwise(first).stride = (2, 2)
        for block in encoder.features:
            if isinstance(block, InvertedResidual) and _dilation(block) == 2:
                _depthwise(block).dilation, _depthwise(block).padding = (1, 1), (2, 2)
        torch.testing.assert_close(dense[..., ::2, ::2], encoder(x)[2], rtol=1e-4, atol=1e-5)


def _depthwise(block: nn.Module) -> nn.Conv2d:
    return next(module for module in block.modules() if isinstance(module, nn.Conv2d) and module.groups > 1)


def _gives_up(block: InvertedResidual) -> bool:
    return not block.residual and block.block[-1][0].out_channels in (160, 96)


@pytest.mark.parametrize(("variant", "channels"), [("large", (40, 112, 960)), ("small", (24, 48, 576))])
def test_features_come_at_strides_8_and_16(variant: str, channels: tuple[int, int, int]) -> None:
    with torch.no_grad():
        features = MobileNetV3(variant).eval()(torch.zeros(1, 3, 64, 96))
    cells = ((8, 12), (4, 6), (4, 6))
    assert [tuple(item.shape[1:]) for item in features] == [(c, *hw) for c, hw in zip(channels, cells, strict=True)]


@pytest.mark.parametrize("variant", ["large", "small"])
def test_reduced_tail_costs_what_table_8_says(variant: str) -> None:
    parameters, macs = TABLE_8[variant]
    net = LRASPP(variant, classes=19, size=(1024, 2048), reduced_tail=True)
    measured = cost(net, size=(1024, 2048))
    print(f"{variant}: {measured.parameters / 1e6:.3f} M, published {parameters / 1e6:.2f} M")
    print(f"{variant}: {measured.macs / 1e9:.2f} G convolution MACs, published {macs / 1e9:.2f} G multiply-adds")
    assert round(measured.parameters / 1e6, 2) == parameters / 1e6
    # Only convolutions are counted here, and the classifier runs before the resize: 5 % and 9 % below the paper.
    assert 0.90 * macs < measured.macs < macs


def test_full_tail_has_the_parameters_of_the_public_large_net() -> None:
    # torchvision's lraspp_mobilenet_v3_large at 21 classes.
    assert cost(build("lraspp_mobilenet_v3_large", classes=21, size=(64, 64)), size=(64, 64)).parameters == 3_221_538


def test_a_narrow_encoder_is_smaller() -> None:
    full, half = (LRASPP("small", classes=5, size=(64, 64), width=width) for width in (1.0, 0.5))
    assert cost(half, size=(64, 64)).parameters < 0.5 * cost(full, size=(64, 64)).parameters


def test_classifying_before_the_resize_gives_the_published_heads_logits() -> None:
    torch.manual_seed(0)
    head = LRASPPHead(24, 576, 7).eval()
    low, high = torch.randn(1, 24, 8, 12), torch.randn(1, 576, 4, 6)
    with torch.no_grad():
        wide = head.resize(head.cbr(high) * head.scale(high))
        published = head.low_classifier(low) + head.high_classifier(wide)
        torch.testing.assert_close(head(low, high), published)


def test_encoder_weights_load_with_any_usual_prefix(tmp_path: Path) -> None:
    source = MobileNetV3("small").features.state_dict()
    state = {f"module.backbone.features.{key}": value for key, value in source.items()} | {
        "classifier.0.weight": torch.zeros(2, 2)
    }
    torch.save({"state_dict": state}, tmp_path / "public.pth")
    net = build("lraspp_mobilenet_v3_small", classes=5, size=(64, 64))
    loaded = load_encoder(net, tmp_path / "public.pth")
    assert (len(loaded.matched), loaded.missing, loaded.unexpected) == (240, (), ("classifier.0.weight",))
    assert all(torch.equal(net.encoder.features.state_dict()[key], value) for key, value in source.items())


def test_public_small_weights_load(shared_data: Path) -> None:
    net = build("lraspp_mobilenet_v3_small", classes=11, size=(64, 64))
    loaded = load_encoder(net, shared_data / "weights" / "mobilenet_v3_small_features_from_pan.pth")
    assert (len(loaded.matched), loaded.missing, loaded.unexpected) == (240, (), ())


def test_encoder_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    net = build("lraspp_mobilenet_v3_small", classes=5, size=(64, 64))
    torch.save(MobileNetV3("large").features.state_dict(), tmp_path / "large.pth")
    torch.save({"head": torch.zeros(1)}, tmp_path / "other.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "large.pth").read_bytes()[:5000])
    (tmp_path / "cut.safetensors").write_bytes(b"\x00" * 7)
    for name, words in (
        ("large.pth", "another shape"),
        ("other.pth", "none of its 1 keys"),
        ("list.pth", "no state dict"),
        ("cut.pth", "cannot be read"),
        ("cut.safetensors", "cannot be read"),
    ):
        with pytest.raises(CheckpointError, match=words):
            load_encoder(net, tmp_path / name)
    with pytest.raises(InputError, match="no such weights file"):
        load_encoder(net, tmp_path / "absent.pth")
    with pytest.raises(UnsupportedError, match="no encoder"):
        load_encoder(build("fast_scnn", classes=5, size=(64, 64)), tmp_path / "large.pth")
