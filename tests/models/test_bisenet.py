"""BiSeNet (V1 on ResNet-18) and BiSeNetV2 against their papers."""

from __future__ import annotations

from contracts.model_contract import ModelContract


class TestBiSeNetV1(ModelContract):
    name = "bisenet_v1_resnet18"


class TestBiSeNetV2(ModelContract):
    name = "bisenet_v2"
