"""Bias correction: the mean int8 error of every layer goes into its bias."""

from __future__ import annotations

import copy

import pytest
import torch
from compress.small_rounded import SIZE, in_int8, layer_outputs, ranges_on, rough_net, smooth_images
from torch import nn

from edgeseg.compress.pipeline.recipe import parse_pipeline
from edgeseg.compress.quantize import paired_run
from edgeseg.compress.quantize.bias_correction import correct_biases
from edgeseg.compress.quantize.paired_run import fitting_images, peak_bytes
from edgeseg.errors import InputError, RecipeError


def test_the_mean_error_of_every_layer_becomes_zero() -> None:
    net, images = rough_net(), smooth_images()
    ranges = ranges_on(net, images)
    before = layer_outputs(net, ranges, images)
    corrected, layers = correct_biases(copy.deepcopy(net), images, size=SIZE, ranges=ranges)
    after = layer_outputs(corrected, ranges, images)
    assert [item.layer for item in layers] == ["0", "3", "6"]
    assert all(1e-4 < item.mean_error < 0.5 for item in layers)
    for path, wanted in before.exact.items():
        first = (before.rounded[path] - wanted).mean((0, 2, 3)).abs().max()
        left = (after.rounded[path] - wanted).mean((0, 2, 3)).abs().max()
        assert left < 0.02 * first, path
    with torch.no_grad():
        wrong = (in_int8(net, ranges)(images) - net(images)).square().mean()
        now = (in_int8(corrected, ranges)(images) - net(images)).square().mean()
    assert now < wrong


def test_the_float_net_has_the_weights_that_int8_stores() -> None:
    net, images = rough_net(), smooth_images()
    ranges = ranges_on(net, images)
    corrected, _ = correct_biases(net, images, size=SIZE, ranges=ranges)
    outputs = layer_outputs(corrected, ranges, images)
    first = outputs.exact["net.0"]
    # Only the input is rounded before the first layer: with other weights the two would differ by far more.
    assert (first - outputs.rounded["net.0"]).abs().max() < 0.01 * first.abs().max()
    assert torch.equal(in_int8(corrected, ranges)(images), in_int8(corrected, ranges)(images))


def test_layers_without_a_bias_are_left_out_and_none_at_all_is_refused() -> None:
    net, images = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False)).eval(), smooth_images()
    with pytest.raises(InputError, match="bias to correct"):
        correct_biases(net, images, size=SIZE, ranges=ranges_on(net, images))


def test_images_beyond_the_memory_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    net, images = rough_net(), smooth_images()
    graph = in_int8(net, ranges_on(net, images)).graph
    # Input and output of the widest layer, 8 maps each, in float32.
    assert peak_bytes(graph) >= 2 * 8 * SIZE[0] * SIZE[1] * 4
    monkeypatch.setattr(paired_run, "MEMORY_BYTES", 5 * peak_bytes(graph))
    assert len(fitting_images(graph, images)) == 2


def test_a_stage_that_changes_the_rounded_weights_may_not_follow() -> None:
    table = {
        "schema": 1, "name": "r", "model": "m", "data": {"train": "streets:4"},
        "stages": [{"kind": "bias_correction"}, {"kind": "equalize"}],
    }  # fmt: skip
    with pytest.raises(RecipeError, match='"equalize" after "bias_correction" changes weights that are rounded'):
        parse_pipeline(table, where="r.toml")
