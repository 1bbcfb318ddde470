"""Every net's contract, and its parameters and multiply-accumulates against the published ones."""

from __future__ import annotations

import pytest
import torch
from contracts.model_contract import ModelContract
from torch import nn

from edgeseg.models import build, cost
from edgeseg.models.encoders.efficientnet_lite import EfficientNetLite0
from edgeseg.models.encoders.mobilenet_v2 import MobileNetV2
from edgeseg.models.encoders.resnet import ResNet
from edgeseg.models.nets.encoder_decoder import FCN8Head, combine


class TestDDRNet(ModelContract):
    name = "ddrnet_23_slim"


class TestPIDNet(ModelContract):
    name = "pidnet_s"


class TestSTDC1(ModelContract):
    name = "stdc1_seg"


@pytest.mark.slow  # the same code as its smaller sister above
class TestSTDC2(ModelContract):
    name = "stdc2_seg"


class TestPPLiteSeg(ModelContract):
    name = "pp_liteseg_t"


class TestDeepLabMobileNetV2(ModelContract):
    name = "deeplabv3plus_mobilenet_v2"


@pytest.mark.slow  # the same code as its smaller sister above
class TestDeepLabResNet50(ModelContract):
    name = "deeplabv3plus_resnet50"


class TestPSPNet(ModelContract):
    name = "pspnet_resnet18"


class TestFCN8s(ModelContract):
    name = "fcn8s_resnet18"


class TestLRASPPLite0(ModelContract):
    name = "lraspp_efficientnet_lite0"


class TestHRNet(ModelContract):
    name = "hrnet_w18_small"


class TestUNet(ModelContract):
    name = "unet"


class TestNestedUNet(ModelContract):
    name = "unet_plusplus"


class TestAttentionUNet(ModelContract):
    name = "attention_unet"


# Parameters in millions and multiply-accumulates in billions at 1024x2048 with 19 classes, and their source.
PUBLISHED = {
    "ddrnet_23_slim": (5.7, 36.3, "the paper's table 5"),
    "pidnet_s": (7.6, 47.6, "the paper's table 6"),
    "hrnet_w18_small": (3.9, 71.6, "the reference implementation's table for Cityscapes, W18-small v2"),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_costs_are_the_published_ones(name: str) -> None:
    parameters, macs, source = PUBLISHED[name]
    measured = cost(build(name, classes=19, size=(1024, 2048)), size=(1024, 2048))
    print(f"{name}: {measured.parameters / 1e6:.3f} M, {measured.macs / 1e9:.1f} G; {source}: {parameters} M, {macs} G")
    assert measured.parameters / 1e6 == pytest.approx(parameters, rel=0.02)
    assert measured.macs / 1e9 == pytest.approx(macs, rel=0.08)


def test_unet_has_the_papers_parameters() -> None:
    # 31.0 M with 64 to 1024 channels; batch norms add 0.02 M.
    assert cost(build("unet", classes=2, size=(64, 64)), size=(64, 64)).parameters / 1e6 == pytest.approx(
        31.03, abs=0.02
    )


@pytest.mark.parametrize(
    ("encoder", "parameters"),
    # Published weights (torchvision; EfficientNet-PyTorch for Lite0) without what follows the last stage.
    [
        (lambda: ResNet(18), 11_176_512),
        (lambda: ResNet(50), 23_508_032),
        (MobileNetV2, 1_811_712),
        (EfficientNetLite0, 2_958_848),
    ],
    ids=["resnet18", "resnet50", "mobilenet_v2", "efficientnet_lite0"],
)
def test_encoders_have_their_reference_parameters(encoder, parameters: int) -> None:
    assert sum(parameter.numel() for parameter in encoder().parameters()) == parameters


@pytest.mark.parametrize(
    "build_encoder",
    [
        lambda stride: ResNet(18, output_stride=stride),
        lambda stride: ResNet(50, output_stride=stride),
        lambda stride: MobileNetV2(output_stride=stride),
    ],
)
def test_dilating_keeps_what_the_weights_compute(build_encoder) -> None:
    torch.manual_seed(0)
    dense, strided = build_encoder(16).eval(), build_encoder(32).eval()
    strided.load_state_dict(dense.state_dict())
    x = torch.randn(1, 3, 128, 128)
    with torch.no_grad():
        fine, coarse = dense(x)[3], strided(x)[3]
    assert fine.shape[2:] == (8, 8)
    torch.testing.assert_close(fine[..., ::2, ::2], coarse, rtol=1e-3, atol=1e-4)


def test_a_third_partys_encoder_combines_with_our_heads() -> None:
    class Theirs(nn.Module):
        channels = (8, 8, 8, 8)

        def __init__(self, *, inputs: int) -> None:
            super().__init__()
            self.first = nn.Conv2d(inputs, 8, 3, stride=4, padding=1)
            self.others = nn.ModuleList(nn.Conv2d(8, 8, 3, stride=2, padding=1) for _ in range(3))

        def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
            found = [self.first(x)]
            for conv in self.others:
                found.append(conv(found[-1]))
            return found

    theirs = combine("theirs", Theirs, FCN8Head, output_stride=8, paper="none", description="a test")
    net = theirs.build(classes=4, size=(64, 64), aux=True)
    assert net.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 4, 8, 8)
    assert len(net.train()(torch.zeros(2, 3, 64, 64))) == 2
