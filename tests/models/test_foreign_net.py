"""A net in habits of its own is converted, quantized, pruned, saved and opened, also from the command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch
from contracts.foreign_package import foreign_package, settle, write_spec

import edgeseg
from edgeseg.cli.main import main
from edgeseg.compress.prune.budget import Budget
from edgeseg.compress.prune.pruner import prune, save
from edgeseg.models import Checkpoint, load_checkpoint, open_model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("foreign")


@pytest.fixture(scope="module")
def package(folder: Path) -> Iterator[str]:
    with foreign_package(folder) as name:
        yield name


@pytest.fixture(scope="module")
def weights(package: str, folder: Path) -> Path:
    torch.manual_seed(0)
    torch.save(settle(__import__(package).build()).state_dict(), folder / "net.pth")
    write_spec(folder)
    return folder / "net.pth"


@pytest.fixture(scope="module")
def opened(package: str, weights: Path) -> Checkpoint:
    return open_model(f"{package}:build", weights=weights)


def widths(checkpoint: Checkpoint) -> dict[str, tuple[int, int, int]]:
    return {layer.name: (layer.inputs, layer.outputs, layer.groups) for layer in checkpoint.spec.channels}


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_command_line_converts_it(
    package: str, weights: Path, tmp_path: Path, precision: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # Random weights tie classes all over; two of them, far apart, leave int8 something to agree on.
    state = torch.load(weights)
    state = {key: value[:2] * 4 if key.startswith(("head", "side")) else value for key, value in state.items()}
    torch.save(state, tmp_path / "two.pth")
    write_spec(tmp_path, classes=2)
    words = ["convert", f"{package}:build", "--weights", str(tmp_path / "two.pth"), "--target", "onnx"]
    words += ["--precision", precision, "--calibration", "streets:4", "--out", str(tmp_path / "a"), "--json"]
    assert main(words) == 0
    (made,) = json.loads(capsys.readouterr().out)["artifacts"]
    assert made["precision"] == precision
    assert made["parity"]["label_agreement"] > (0.999 if precision == "fp32" else 0.9)


def test_python_converts_a_module(package: str, weights: Path, tmp_path: Path) -> None:
    net = __import__(package).Tail("up argmax").eval()
    (made,) = edgeseg.convert(
        net, spec=weights.with_name("spec.toml"), target="onnx", precision="fp32", out=tmp_path / "a"
    )
    assert made.manifest.outputs[0].shape == (1, 8, 12, 11)


@pytest.mark.parametrize("importance", ["magnitude", "bn-scale"])
def test_it_is_pruned_and_opens_again(opened: Checkpoint, tmp_path: Path, importance: str) -> None:
    pruned = prune(opened, budget=Budget(macs=0.7), round_to=4, importance=importance)  # type: ignore[arg-type]
    assert pruned.after.macs <= 0.7 * pruned.before.macs
    save(pruned, tmp_path / "p")
    loaded = load_checkpoint(tmp_path / "p")
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(loaded.net(x), pruned.net(x))
    found = widths(loaded)
    assert found["norm"][1] == found["point"][1] < 64, "layer norm follows its convolution"
    assert found["group"][2] == 4
    assert found["group"][0] == found["up"][0] == found["side"][0] == found["mix"][1]
    assert open_model(loaded, size=(96, 128)).net(torch.zeros(1, 3, 96, 128)).shape == (1, 11, 24, 32)


def test_group_norm_keeps_equal_groups(opened: Checkpoint) -> None:
    """Each of the norm's groups loses as many channels, so that every one left is normalized with its neighbours."""
    with torch.no_grad():
        opened.net.mix.weight[:16] *= 1e-3  # the first of four groups would go alone
    pruned = prune(opened, budget=Budget(macs=0.8), round_to=4, importance="magnitude", keep=("point",))
    (kept,) = [item.after for item in pruned.groups if item.name == "mix"]
    assert kept < 64
    small = pruned.net.mix.weight.abs().mean((1, 2, 3)) < 1e-3
    assert small.sum() == kept // 4


def test_attention_keeps_its_heads_while_its_mlp_is_pruned(package: str, weights: Path, tmp_path: Path) -> None:
    former = open_model(f"{package}:Former", spec=weights.with_name("spec.toml"))
    pruned = prune(former, budget=Budget(macs=0.7), round_to=4)
    save(pruned, tmp_path / "p")
    found = widths(load_checkpoint(tmp_path / "p"))
    assert {name.split(".")[0] for name in found} == {"fc1", "fc2", "head"}
    assert found["fc1"][1] == found["fc2"][0] < 128
