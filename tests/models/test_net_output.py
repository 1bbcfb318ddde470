"""What foreign nets return comes out as logits at the head's own resolution, with the labels of the whole net."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING

import pytest
import torch
from contracts.foreign_package import foreign_package, write_spec
from torch.nn import functional

from edgeseg.errors import InputError
from edgeseg.export.export import deploy, export_program
from edgeseg.models import open_model

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edgeseg.models import Checkpoint


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with foreign_package(tmp_path_factory.mktemp("package")) as name:
        yield name


def open_tail(package: str, folder: Path, end: str, *, classes: object = 11, more: str = "") -> Checkpoint:
    arguments = f'[arguments]\nend = "{end}"\n{more}'
    torch.manual_seed(0)
    return open_model(f"{package}:Tail", spec=write_spec(folder, classes=classes, more=arguments))


def image() -> torch.Tensor:
    return torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "end",
    ["logits", "up", "softmax", "argmax", "up softmax", "up argmax", "up softmax argmax", "softmax latesize argmax",
     "object", "list", "up list", "up argmax keep", "up largest", "up softmax largest"],
)  # fmt: skip
def test_every_end_comes_down_to_the_same_logits(package: str, tmp_path: Path, end: str) -> None:
    opened = open_tail(package, tmp_path, end)
    with torch.no_grad():
        logits, body = opened.net(image()), opened.net.body(image())
    assert opened.spec.output_stride == 8
    assert torch.equal(logits, body.softmax(1) if "latesize" in end else body)


@pytest.mark.parametrize(
    ("end", "factors"),
    [("logits", None), ("up sigmoid", None), ("sigmoid", None), ("sigmoid latesize", "probability"),
     ("up sigmoid half", None), ("up positive", None), ("sigmoid latesize half", "probability"),
     ("inplace", "probability"), ("expit", None), ("sigmoid plane", None)],
)  # fmt: skip
def test_one_channel_becomes_two_classes(package: str, tmp_path: Path, end: str, factors: str | None) -> None:
    opened = open_tail(package, tmp_path, end, classes='["background", "crack"]', more="num_classes = 1")
    with torch.no_grad():
        logits, z = opened.net(image()), opened.net.body(image())
    p = torch.sigmoid(z)
    wanted = torch.cat((1 - p, p) if factors else (torch.zeros_like(z), z), 1)
    torch.testing.assert_close(logits, wanted)
    assert torch.equal(logits.argmax(1) == 1, p[:, 0] > 0.5)


def test_probabilities_that_no_sigmoid_made_are_not_read_as_logits_unsaid(
    package: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    opened = open_tail(package, tmp_path, "sigmoid clamped", classes='["background", "crack"]', more="num_classes = 1")
    assert "look like probabilities" in caplog.text
    assert 'one_channel = "probability"' in caplog.text
    caplog.clear()
    more = 'num_classes = 1\n[output]\none_channel = "probability"'
    opened = open_tail(package, tmp_path, "sigmoid clamped", classes='["background", "crack"]', more=more)
    open_tail(package, tmp_path, "logits", classes='["background", "crack"]', more="num_classes = 1")
    assert not caplog.text
    with torch.no_grad():
        assert torch.equal(opened.net(image()).argmax(1) == 1, opened.net.body(image())[:, 0] > 0)


@pytest.mark.parametrize(
    ("end", "probability"), [("logits", False), ("sigmoid third", False), ("sigmoid latesize", True), ("third", None)]
)
def test_the_threshold_of_the_spec_separates_the_two_classes(
    package: str, tmp_path: Path, end: str, probability: bool | None
) -> None:
    """At p = 0.3 both channels are equal: the logit is shifted by that of 0.3, the odds are multiplied by 7 / 3."""
    more = "num_classes = 1\n[output]\nthreshold = 0.3"
    if probability is None:  # `z > 0.3` is not the threshold's logit, which is negative
        with pytest.raises(InputError, match="labels whose logits were not found"):
            open_tail(package, tmp_path, end, classes='["background", "crack"]', more=more)
        return
    opened = open_tail(package, tmp_path, end, classes='["background", "crack"]', more=more)
    with torch.no_grad():
        z = opened.net.body(image())
        opened.net.body.register_forward_hook(lambda _net, _given, made: 40 * made)  # shares around 0.3 and 0.5 are few
        logits, z = opened.net(image()), 40 * z
    p = torch.sigmoid(z)[:, 0]
    assert 0.0 < float((p > 0.3).float().mean()) < 1.0
    assert torch.equal(logits.argmax(1) == 1, p > 0.3)
    if probability:
        torch.testing.assert_close(logits.sum(1), torch.ones_like(p))
        torch.testing.assert_close(logits[:, 1], (7 * p) / (7 * p + 3 * (1 - p)))
    else:
        torch.testing.assert_close(logits[:, 1], z[:, 0] - math.log(3 / 7))


def test_a_threshold_of_another_share_is_refused(package: str, tmp_path: Path) -> None:
    for end in ("sigmoid third", "third"):
        with pytest.raises(InputError, match="labels whose logits were not found"):
            open_tail(package, tmp_path, end, classes='["background", "crack"]', more="num_classes = 1")


@pytest.mark.parametrize("end", ["up argmax", "up argmax keep", "up largest"])
def test_a_cut_that_changes_the_labels_is_refused(
    package: str, tmp_path: Path, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeseg.models import net_output

    monkeypatch.setattr(net_output._Tail, "_is_our_resize", lambda *_: True)
    with pytest.raises(InputError, match=r"only \d+\.\d+ % of the labels stay the same.*cut = false"):
        open_tail(package, tmp_path, end, more="align_corners = true")


def test_a_dict_needs_a_key_where_nothing_is_called_out_or_logits(package: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"dict with semantic, loss.*output.key"):
        open_tail(package, tmp_path, "named")
    assert open_tail(package, tmp_path, "named", more='[output]\nkey = "semantic"').spec.output_stride == 8


def test_a_resize_that_edgeseg_would_do_otherwise_stays(package: str, tmp_path: Path) -> None:
    assert open_tail(package, tmp_path, "up", more="align_corners = true").spec.output_stride == 1
    assert open_tail(package, tmp_path, "up", more="[output]\ncut = false").spec.output_stride == 1


def test_the_exported_graph_holds_nothing_of_what_was_cut(package: str, tmp_path: Path) -> None:
    opened = open_tail(package, tmp_path, "up softmax argmax")
    program = export_program(deploy(opened, spec=opened.spec, output="logits"), spec=opened.spec)
    used = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert not [name for name in used if any(word in name for word in ("upsample", "softmax", "argmax"))]


def test_the_labels_are_those_of_the_whole_net(package: str, tmp_path: Path) -> None:
    opened = open_tail(package, tmp_path, "up argmax")
    with torch.no_grad():
        logits = opened.net(image())
        labels = type(opened.net).forward(opened.net, image())
    resized = functional.interpolate(logits, size=(64, 96), mode="bilinear", align_corners=False)
    assert torch.equal(resized.argmax(1), labels)


def test_training_gives_aux_logits_of_a_tuple(package: str, tmp_path: Path) -> None:
    opened = open_model(f"{package}:build", spec=write_spec(tmp_path))
    outputs = opened.net.train()(image())
    assert isinstance(outputs, tuple)
    assert [tuple(item.shape[:2]) for item in outputs] == [(2, 11), (2, 11)]
    assert sys.modules[package].Net is type(opened.net)
