"""Architectures by name, and what a wrong name or size is answered."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgeseg.core import registry
from edgeseg.errors import InputError, MissingDependency, UnknownName
from edgeseg.models import architectures, build, load_checkpoint, resolve_model
from edgeseg.models.build import check_size, swapped


def test_ours_are_registered() -> None:
    assert {"fast_scnn", "lraspp_mobilenet_v3_large", "lraspp_mobilenet_v3_small"} <= set(architectures())


def test_a_typo_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(UnknownName, match='Did you mean "fast_scnn"'):
        build("fast_scn", classes=5, size=(64, 64))


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ((500, 512), "Use 480x512 or 512x512"),
        ((0, 64), "Use 32x64"),
        ((-5, 7), "Use 32x32"),
        ((31, 33), "32x32 or 32x64"),
    ],
)
def test_a_wrong_size_is_answered_with_the_nearest(size: tuple[int, int], words: str) -> None:
    with pytest.raises(InputError, match=words):
        check_size(size, multiple=32, name="fast_scnn")


def test_no_classes_is_refused() -> None:
    with pytest.raises(InputError, match="at least one"):
        build("fast_scnn", classes=0, size=(64, 64))


def test_a_plug_in_that_is_no_architecture_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "load_plugin", lambda group, name: object())
    with pytest.raises(MissingDependency, match=r"is not one of them: it lacks part of .*\.Architecture"):
        build("odd", classes=5, size=(64, 64))


def test_the_same_weights_in_an_architecture_with_relu_alone() -> None:
    half = load_checkpoint(resolve_model("lraspp_mobilenet_v3_small:camvid-half"))
    net, spec = swapped(half.net, spec=half.spec, name="lraspp_mobilenet_v3_small_relu")
    assert spec.architecture == "lraspp_mobilenet_v3_small_relu"
    assert spec.channels == half.spec.channels
    assert all(torch.equal(value, half.net.state_dict()[key]) for key, value in net.state_dict().items())
    kinds = {type(module) for module in net.modules()}
    assert nn.Hardswish not in kinds
    assert nn.ReLU in kinds
    plain = build("lraspp_mobilenet_v3_small", classes=3, size=(64, 64))
    assert nn.Hardswish in {type(module) for module in plain.modules()}


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("lraspp_mobilenet_v3_large", InputError, "has other layers than lraspp_mobilenet_v3_small"),
        ("lraspp_mobilenet_v3_small_rel", UnknownName, 'Did you mean "lraspp_mobilenet_v3_small_relu"'),
    ],
)
def test_weights_that_do_not_fit_an_architecture_are_refused(name: str, kind: type[Exception], words: str) -> None:
    half = load_checkpoint(resolve_model("lraspp_mobilenet_v3_small:camvid-half"))
    with pytest.raises(kind, match=words):
        swapped(half.net, spec=half.spec, name=name)
