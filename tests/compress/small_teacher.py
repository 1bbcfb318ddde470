"""A small untrained checkpoint that teaches in tests: any function of the image is a teacher."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from contracts.deployable import without_repeats

from edgeseg.core.spec import ModelSpec, Preprocess, TensorSpec
from edgeseg.models import build, save_checkpoint
from edgeseg.models.architecture import architecture

if TYPE_CHECKING:
    from pathlib import Path

SIZE = (64, 96)


def small_teacher(folder: Path, *, classes: tuple[str, ...], name: str = "lraspp_mobilenet_v3_small") -> Path:
    """Write a checkpoint with seeded weights for images of 64 x 96 and return its folder."""
    torch.manual_seed(11)
    net = build(name, classes=len(classes), size=SIZE).eval()
    with torch.no_grad():
        # A fresh classifier hardly tells places apart.
        for key, parameter in net.named_parameters():
            if "classifier" in key:
                parameter.mul_(30)
    stride = architecture(name).output_stride
    grid = (len(classes), SIZE[0] // stride, SIZE[1] // stride)
    spec = ModelSpec(
        name=f"{name}:test",
        architecture=name,
        classes=classes,
        palette=tuple((index, index, index) for index in range(len(classes))),
        ignore_index=255,
        inputs=(TensorSpec(name="image", shape=(1, 3, *SIZE), dtype="float32", layout="NCHW", role="image"),),
        outputs=(TensorSpec(name="logits", shape=(1, *grid), dtype="float32", layout="NCHW", role="logits"),),
        preprocess=Preprocess(),
        output_stride=stride,
        weights_sha256="",
        licence="Apache-2.0",
    )
    save_checkpoint(folder, net=net, spec=without_repeats(net, spec))
    return folder
