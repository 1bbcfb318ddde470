"""Gates that hardly vary become weights: exactly where they are constant, and never beyond the bound."""

from __future__ import annotations

import copy
import dataclasses
from typing import TYPE_CHECKING

import pytest
import torch
from compress.small_teacher import SIZE, small_teacher
from torch import Tensor, nn

from edgeseg.compress.surgery.fold_se_gates import fold_gates
from edgeseg.data import open_dataset
from edgeseg.errors import CheckpointError, InputError
from edgeseg.models import Checkpoint, build_spec, load_checkpoint, resolve_model, save_checkpoint
from edgeseg.models.encoders.mobilenet_v3 import SqueezeExcite

if TYPE_CHECKING:
    from pathlib import Path

CONSTANT = ("encoder.features.4.block.2", "encoder.features.9.block.2")


@pytest.fixture(scope="module")
def images() -> list[Tensor]:
    """Noise on dark and on bright images, in two batches."""
    noise = torch.randn(4, 3, *SIZE, generator=torch.Generator().manual_seed(1))
    return list((noise + torch.linspace(-2, 2, 4).view(4, 1, 1, 1)).split(2))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    """A small net of which two gates give the same factors whatever they see, and the others vary."""
    loaded = load_checkpoint(
        small_teacher(tmp_path / "start", classes=open_dataset("streets:2", split="train").classes)
    )
    with torch.no_grad():
        for name, module in loaded.net.named_modules():
            if isinstance(module, SqueezeExcite):
                assert module.fc2.bias is not None
                if name in CONSTANT:
                    module.fc2.weight.zero_()
                    module.fc2.bias.copy_(torch.linspace(-1, 1, len(module.fc2.bias)))
                else:
                    module.fc2.weight.mul_(40)
    return loaded


def logits(net: nn.Module, images: list[Tensor]) -> Tensor:
    with torch.no_grad():
        return torch.cat([net(batch) for batch in images])


def test_constant_gates_go_and_the_answers_stay(checkpoint: Checkpoint, images: list[Tensor]) -> None:
    before = logits(checkpoint.net, images)
    net = copy.deepcopy(checkpoint.net)
    gates = [name for name, module in net.named_modules() if isinstance(module, SqueezeExcite)]
    assert len(gates) == 9
    keep = tuple(name for name in gates if name not in CONSTANT)
    spec, losses = fold_gates(net, images, spec=checkpoint.spec, agreement=1.0, keep=keep)
    assert set(spec.bypassed) == set(CONSTANT)
    assert {loss.gate for loss in losses if loss.folded} == set(spec.bypassed)
    assert all(loss.together == 1 for loss in losses if loss.folded)
    assert torch.allclose(logits(net, images), before, rtol=1e-4, atol=1e-4)
    for name in CONSTANT:
        assert isinstance(net.get_submodule(name), nn.Identity)
    assert len(list(net.parameters())) == len(list(checkpoint.net.parameters())) - 4 * len(spec.bypassed)


def test_every_gate_that_goes_keeps_the_bound(checkpoint: Checkpoint, images: list[Tensor]) -> None:
    labels = logits(checkpoint.net, images).argmax(1)
    counts = []
    for bound in (1.0, 0.9, 0.01):
        net = copy.deepcopy(checkpoint.net)
        spec, losses = fold_gates(net, images, spec=checkpoint.spec, agreement=bound)
        assert len(losses) == 9
        kept = float((logits(net, images).argmax(1) == labels).float().mean())
        assert kept >= bound
        # The last that went says what all of them together cost.
        assert kept == pytest.approx([loss.together for loss in losses if loss.folded][-1], abs=2e-3)
        counts.append(len(spec.bypassed))
    assert counts == sorted(counts)
    assert counts[0] < counts[-1] == 9


def test_gates_that_are_to_stay_do(checkpoint: Checkpoint, images: list[Tensor]) -> None:
    keep = ("encoder.features.1", CONSTANT[0])
    spec, losses = fold_gates(checkpoint.net, images, spec=checkpoint.spec, agreement=0.01, keep=keep)
    assert len(spec.bypassed) == len(losses) == 7
    # features.1 is not the beginning of features.11's name.
    assert "encoder.features.11.block.2" in spec.bypassed
    for name in ("encoder.features.1.block.1", CONSTANT[0]):
        assert isinstance(checkpoint.net.get_submodule(name), SqueezeExcite)


def test_a_net_without_its_gates_is_saved_and_built_again(
    checkpoint: Checkpoint, images: list[Tensor], tmp_path: Path
) -> None:
    spec, _ = fold_gates(checkpoint.net, images, spec=checkpoint.spec, agreement=0.01)
    save_checkpoint(tmp_path / "folded", net=checkpoint.net, spec=spec)
    again = load_checkpoint(tmp_path / "folded")
    assert again.spec.bypassed == spec.bypassed
    assert torch.equal(logits(again.net, images), logits(checkpoint.net, images))
    assert not any(isinstance(module, SqueezeExcite) for module in again.net.modules())
    with pytest.raises(InputError, match="no squeeze-and-excite gate followed by a convolution"):
        fold_gates(again.net, images, spec=again.spec)
    wrong = dataclasses.replace(spec, bypassed=("encoder.features.4.blok.2",))
    with pytest.raises(CheckpointError, match=r'no module "encoder.features.4.blok.2".*Did you mean'):
        build_spec(wrong)


def test_a_pruned_gate_takes_its_widths_along(images: list[Tensor], tmp_path: Path) -> None:
    half = load_checkpoint(resolve_model("lraspp_mobilenet_v3_small:camvid-half"), size=SIZE)
    names = {layer.name for layer in half.spec.channels}
    assert any(".fc1" in name for name in names)
    spec, _ = fold_gates(half.net, images, spec=half.spec, agreement=0.01)
    assert not any(layer.name.startswith(tuple(spec.bypassed)) for layer in spec.channels)
    save_checkpoint(tmp_path / "folded", net=half.net, spec=spec)
    assert torch.equal(
        logits(load_checkpoint(tmp_path / "folded").net, images),
        logits(half.net, images),
    )


def test_gates_that_all_matter_and_missing_images_are_told(checkpoint: Checkpoint, images: list[Tensor]) -> None:
    with pytest.raises(InputError, match="none was given"):
        fold_gates(checkpoint.net, [], spec=checkpoint.spec)
    # Two classes, told apart by which of two channels a gate lets through: by how bright the whole image is.
    net = nn.Sequential(nn.Conv2d(3, 2, 1, bias=False), SqueezeExcite(2), nn.Conv2d(2, 2, 1))
    with torch.no_grad():
        for key, parameter in net.named_parameters():
            parameter.copy_(torch.ones_like(parameter) if "weight" in key else torch.zeros_like(parameter))
        net.get_parameter("1.fc2.weight").copy_(torch.tensor([[1.0], [-1.0]]).view(2, 1, 1, 1).expand(2, 8, 1, 1))
        net.get_parameter("2.weight").copy_(torch.eye(2).view(2, 2, 1, 1))
    bright = [batch.abs() * factor for batch, factor in zip(images, (0.0, 1.0), strict=True)]
    net.get_parameter("2.bias").data.copy_(torch.tensor([0.0, 0.5]))
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with pytest.raises(InputError, match=r"No gate can be folded: with 1 constant \d+\.\d\d % of the labels stay"):
        fold_gates(net, bright, spec=checkpoint.spec, agreement=1.0)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
