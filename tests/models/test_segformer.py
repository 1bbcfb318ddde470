"""SegFormer-B0 against its paper and against the same weights in the published order of layers."""

from __future__ import annotations

import pytest
import torch
from contracts.model_contract import ModelContract
from torch import nn

from edgeseg.models import build, cost
from edgeseg.models.encoders.mit import EfficientAttention
from edgeseg.models.nets.segformer import AllMlpDecoder


class TestSegFormerB0(ModelContract):
    name = "segformer_b0"


def test_fusing_before_the_resize_gives_the_published_decoders_logits() -> None:
    torch.manual_seed(0)
    decoder = AllMlpDecoder((32, 64, 160, 256), 7).eval()
    features = [torch.randn(1, c, 16 >> i, 24 >> i) for i, c in enumerate((32, 64, 160, 256))]
    with torch.no_grad():
        wide = [resize(p(x)) for x, p, resize in zip(features, decoder.project, decoder.resize, strict=True)]
        weight = torch.cat([layer.weight for layer in decoder.fuse], dim=1)
        fused = nn.functional.conv2d(torch.cat(wide, dim=1), weight)
        published = decoder.classifier(decoder.activation(decoder.norm(fused)))
        torch.testing.assert_close(decoder(features), published, rtol=1e-4, atol=1e-5)


def test_parameters_are_those_of_the_paper() -> None:
    # Table 1: 3.8 M with 150 classes.
    measured = cost(build("segformer_b0", classes=150, size=(512, 512)), size=(512, 512))
    assert measured.parameters / 1e6 == pytest.approx(3.8, abs=0.1)


def test_attention_is_that_of_pytorch() -> None:
    torch.manual_seed(0)
    layer = EfficientAttention(64, heads=2, reduction=1, grid=(4, 6)).eval()
    theirs = nn.MultiheadAttention(64, 2, batch_first=True).eval()
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([layer.query.weight, layer.key.weight, layer.value.weight]))
        theirs.in_proj_bias.copy_(torch.cat([layer.query.bias, layer.key.bias, layer.value.bias]))
        theirs.out_proj.load_state_dict(layer.project.state_dict())
        tokens = torch.randn(2, 24, 64)
        torch.testing.assert_close(layer(tokens), theirs(tokens, tokens, tokens)[0], rtol=1e-4, atol=1e-5)
