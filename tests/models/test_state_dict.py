"""State dicts are read without running code, their wrappers undone, and refused where they cannot be weights."""

from __future__ import annotations

import argparse
import logging
import warnings
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from edgeseg.errors import CheckpointError
from edgeseg.models.state_dict import fitted, load_weights, read_state_dict

if TYPE_CHECKING:
    from pathlib import Path


class Whole(nn.Module):
    """A module that somebody pickles as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))


def load(given: dict[str, torch.Tensor]) -> nn.Module:
    net = Whole()
    load_weights(net, fitted(given, keys=set(net.state_dict())), source="w.pth", advice="")
    return net


@pytest.mark.parametrize(
    "prefix",
    ["", "module.", "_orig_mod.", "module._orig_mod.", "net.module.", "model.", "ema_model.module.", "segmentor.net."],
)
def test_prefixes_are_undone_but_not_the_nets_own(prefix: str) -> None:
    state = Whole().state_dict()
    net = load({prefix + key: value for key, value in state.items()})
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())


@pytest.mark.parametrize(
    "wrapper",
    [("state_dict",), ("model",), ("model", "state_dict"), ("model_state",), ("ema", "module"), ("state_dict_ema",)],
)
def test_wrappers_are_undone(tmp_path: Path, wrapper: tuple[str, ...]) -> None:
    held: dict[str, object] = dict(Whole().state_dict())
    for key in wrapper:
        held = {key: held, "epoch": 3}
    torch.save(held, tmp_path / "w.pth")
    assert read_state_dict(tmp_path / "w.pth").keys() == Whole().state_dict().keys()


def test_the_weights_are_preferred_to_their_average(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    state = Whole().state_dict()
    averaged = {f"module.{key}": value + 1 for key, value in state.items()}
    torch.save({"model_ema": {"n_averaged": torch.tensor(3), **averaged}, "model": state}, tmp_path / "w.pth")
    with caplog.at_level(logging.WARNING):
        read = read_state_dict(tmp_path / "w.pth")
    assert torch.equal(read["model.0.weight"], state["model.0.weight"])
    assert "holds model and model_ema; model is used" in caplog.text
    torch.save({"model_ema": {"n_averaged": torch.tensor(3), **averaged}}, tmp_path / "average.pth")
    assert torch.equal(load(read_state_dict(tmp_path / "average.pth")).model[0].bias, state["model.0.bias"] + 1)


def test_a_file_without_weights_says_what_it_holds(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "optimizer": {"lr": 0.1}}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"no state dict .*but epoch \(int\), optimizer \(dict\)"):
        read_state_dict(tmp_path / "w.pth")


def test_other_objects_beside_the_weights_are_named(tmp_path: Path) -> None:
    torch.save({"state_dict": Whole().state_dict(), "args": argparse.Namespace(rate=0.1)}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"\(argparse.Namespace\).*weights_only=False.*model\[.state_dict.\]"):
        read_state_dict(tmp_path / "w.pth")


def test_torchscript_is_refused_with_how_to_save_it(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated, and files of it are everywhere
        torch.jit.save(torch.jit.trace(nn.Conv2d(3, 4, 1), torch.zeros(1, 3, 4, 4)), tmp_path / "w.pt")
        with pytest.raises(CheckpointError, match=r"TorchScript archive.*torch.jit.load"):
            read_state_dict(tmp_path / "w.pt")


def test_safetensors_are_read(tmp_path: Path) -> None:
    save_file(Whole().state_dict(), tmp_path / "w.safetensors")
    assert read_state_dict(tmp_path / "w.safetensors").keys() == Whole().state_dict().keys()


def test_a_pickled_module_is_refused_with_how_to_save_it(tmp_path: Path) -> None:
    torch.save(Whole(), tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"pickled object .*Whole.*torch.save\(model.state_dict\(\), "):
        read_state_dict(tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (torch.zeros(4, 3, 1, 1, dtype=torch.int8), "is int8; weights must be float"),
        (torch.zeros(4, 3, 1, 1, dtype=torch.bool), "is bool"),
        (torch.zeros(4, 3, 1, 1, dtype=torch.complex64), "is complex64"),
        (torch.full((4, 3, 1, 1), torch.nan), "NaN or infinity"),
        (torch.full((4, 3, 1, 1), torch.inf), "NaN or infinity"),
    ],
)
def test_values_that_cannot_be_weights_are_refused(value: torch.Tensor, words: str) -> None:
    with pytest.raises(CheckpointError, match=f"model.0.weight .*{words}|model.0.weight {words}"):
        load({**Whole().state_dict(), "model.0.weight": value})


def test_half_precision_is_taken_and_zeros_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    state = {key: value.half() if value.is_floating_point() else value for key, value in Whole().state_dict().items()}
    with caplog.at_level(logging.WARNING):
        net = load({**state, "model.0.weight": torch.zeros(4, 3, 1, 1)})
    assert net.model[0].bias.dtype == torch.float32
    assert "1 weights are all zero, first model.0.weight" in caplog.text
