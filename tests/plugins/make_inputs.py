"""What the package's commands work on, written to the current folder: data, a clip, two nets' weights, a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from their_package.factory_net import build as build_factory_net

from edgeseg.core.spec import ModelSpec, Preprocess, TensorSpec
from edgeseg.models import build, save_checkpoint

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

CLASSES = ("dark", "bright")
SIZE = (64, 96)
SPEC = 'schema = 1\nname = "factory"\nclasses = ["dark", "bright"]\nsize = [64, 96]\n'
RECIPE = """
schema = 1
name = "clipped"
model = "start"
[data]
train = "npz:data"
[calibration]
count = 2
[[stages]]
kind = "clip"
deviations = 1.5
images = 4
"""


def sample(seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return an image (H, W, 3) of soft blobs and its labels: bright where it is brighter than its mean."""
    noise = np.random.default_rng(seed).normal(0, 1, (*SIZE, 1)).astype(np.float32)
    grey = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 12), None, 0, 255, cv2.NORM_MINMAX)
    image = np.repeat(grey[..., None], 3, axis=2).astype(np.uint8)
    return image, (grey > 127).astype(np.uint8)


def fit(net: nn.Module, head: nn.Conv2d) -> nn.Module:
    """Return the net with settled norms and its last layer solved by least squares, so that its labels are decisive."""
    images, labels = map(np.stack, zip(*(sample(seed) for seed in range(8)), strict=True))
    mean, std = Preprocess().mean, Preprocess().std
    x = torch.from_numpy((images / 255 - mean) / std).permute(0, 3, 1, 2).float()
    seen: list[torch.Tensor] = []
    head.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        for _ in range(20):
            net.train()(x)
        net.eval()(x)
        features = seen[-1].permute(0, 2, 3, 1).flatten(0, 2)
        grid = torch.from_numpy(labels[:, None]).float()
        wanted = 2 * torch.nn.functional.adaptive_avg_pool2d(grid, seen[-1].shape[2:]).reshape(-1, 1) - 1
        columns = torch.cat([features, torch.ones(len(features), 1)], dim=1)
        ridge = columns.T @ columns + 1e-2 * len(columns) * torch.eye(columns.shape[1])
        solved = torch.linalg.solve(ridge, columns.T @ wanted)[:, 0]
        for row, sign in enumerate((-1, 1)):
            head.weight[row] = sign * solved[:-1].reshape(-1, 1, 1)
            head.bias[row] = sign * solved[-1]
    head._forward_pre_hooks.clear()
    return net


def main() -> None:
    for split, first in (("train", 0), ("val", 10)):
        Path("data", split).mkdir(parents=True)
        for seed in range(first, first + 4):
            image, labels = sample(seed)
            np.savez(Path("data", split, f"{seed:02}.npz"), image=image, labels=labels)
    Path("data", "classes.txt").write_text("\n".join(CLASSES), encoding="utf-8")
    np.save("clip.npy", np.stack([sample(seed)[0] for seed in range(20, 26)]))
    torch.manual_seed(0)
    net = build("their_net", classes=len(CLASSES), size=SIZE)
    image = TensorSpec(name="image", shape=(1, 3, *SIZE), dtype="float32", layout="NCHW", role="image")
    logits = TensorSpec(name="logits", shape=(1, 2, 8, 12), dtype="float32", layout="NCHW", role="logits")
    spec = ModelSpec(
        name="their_net:test", architecture="their_net", classes=CLASSES, palette=((0, 0, 0), (255, 255, 255)),
        ignore_index=255, inputs=(image,), outputs=(logits,), preprocess=Preprocess(), output_stride=8,
        weights_sha256="", licence="Apache-2.0",
    )  # fmt: skip
    save_checkpoint(Path("start"), net=fit(net, net.classifier), spec=spec)
    factory = build_factory_net(len(CLASSES))
    torch.save(fit(factory, factory.head).state_dict(), "factory.pth")
    Path("spec.toml").write_text(SPEC, encoding="utf-8")
    Path("recipe.toml").write_text(RECIPE, encoding="utf-8")


main()
