"""Weights in 16 bits: half the file, the same ranges, and nothing that float16 cannot hold."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from edgeseg.compress.pipeline.recipe import parse_pipeline
from edgeseg.compress.pipeline.run import run_pipeline
from edgeseg.compress.quantize.half_weights_stage import round_to_half
from edgeseg.core.quantization import RANGES_FILE, read_ranges
from edgeseg.errors import InputError, RecipeError
from edgeseg.models import load_checkpoint, resolve_model
from edgeseg.models.checkpoint import read_training

if TYPE_CHECKING:
    from pathlib import Path

START = "fast_scnn:streets-half"


def test_the_file_is_halved_and_the_ranges_stay(tmp_path: Path) -> None:
    table = {
        "schema": 1, "name": "small", "model": START, "data": {"train": "streets:4"},
        "stages": [{"kind": "half_weights"}],
    }  # fmt: skip
    done = run_pipeline(parse_pipeline(table, where="r.toml"), out=tmp_path / "run")
    before, after = resolve_model(START), done.checkpoint
    assert after is not None
    stored = load_file(after / "weights.safetensors")
    assert {value.dtype for value in stored.values() if value.ndim > 1} == {torch.float16}
    assert torch.float16 not in {value.dtype for value in stored.values() if value.ndim < 2}
    sizes = [(folder / "weights.safetensors").stat().st_size for folder in (before, after)]
    assert sizes[1] < 0.6 * sizes[0]
    training = read_training(after)
    assert "seconds" not in training, "that is how long the parent's training took"
    was, now = load_checkpoint(before).net.state_dict(), load_checkpoint(after).net.state_dict()
    for key, value in now.items():
        wanted = was[key].half().float() if was[key].ndim > 1 else was[key]
        assert value.dtype == was[key].dtype
        assert torch.equal(value, wanted), key
    old, new = read_ranges(before / RANGES_FILE), read_ranges(after / RANGES_FILE)
    assert new.weights_sha256 == load_checkpoint(after).spec.weights_sha256 != old.weights_sha256
    assert dataclasses.replace(new, weights_sha256=old.weights_sha256) == old


def test_a_stage_after_it_would_store_32_bits_again() -> None:
    table = {
        "schema": 1, "name": "small", "model": START, "data": {"train": "streets:4"},
        "stages": [{"kind": "half_weights"}, {"kind": "prune", "macs": 0.5}],
    }  # fmt: skip
    with pytest.raises(RecipeError, match='"prune" after "half_weights" stores the weights in 32 bits again'):
        parse_pipeline(table, where="r.toml")


def test_a_weight_beyond_float16_is_refused() -> None:
    net = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1))
    with torch.no_grad():
        net[0].bias.fill_(1e6)  # stays in float32
        net[0].weight.fill_(7e4)
    with pytest.raises(InputError, match=r"0\.weight: a weight of 70000 is outside float16's range of 65504"):
        round_to_half(net)


@pytest.mark.parametrize("last", ["qat", "adaround"])
def test_it_may_follow_what_any_other_change_destroys(last: str) -> None:
    table = {
        "schema": 1, "name": "small", "model": START, "data": {"train": "streets:4"},
        "stages": [{"kind": last}, {"kind": "half_weights"}],
    }  # fmt: skip
    assert [stage.name for stage in parse_pipeline(table, where="r.toml").stages] == [last, "half_weights"]
