"""Nets that edgeseg did not make: by factory or as modules, with weights of any wrapping, saved and opened again."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest
import torch
from contracts.foreign_package import foreign_package, settle, write_spec

from edgeseg.errors import CheckpointError, EdgesegError, InputError, RecipeError, UnsupportedError
from edgeseg.models import factory, load_checkpoint, open_model, save_checkpoint
from edgeseg.models.build import net_at

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import nn


@pytest.fixture
def package(tmp_path: Path) -> Iterator[str]:
    with foreign_package(tmp_path) as name:
        yield name


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    return write_spec(tmp_path)


def make(package: str, what: str = "build", **arguments: object) -> nn.Module:
    __import__(package)
    return settle(getattr(sys.modules[package], what)(**arguments))


def image(size: tuple[int, int] = (64, 96)) -> torch.Tensor:
    return torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))


def test_a_factory_with_weights_is_a_checkpoint_that_opens_again(package: str, spec: Path, tmp_path: Path) -> None:
    net = make(package)
    torch.save({"state_dict": {f"module.{key}": value for key, value in net.state_dict().items()}}, tmp_path / "w.pth")
    opened = open_model(f"{package}:build", weights=tmp_path / "w.pth", spec=spec)
    again = load_checkpoint(opened.folder)
    assert (again.spec.architecture, again.spec.output_stride, again.spec.size) == (f"{package}:build", 4, (64, 96))
    with torch.no_grad():
        assert torch.equal(again.net(image()), net(image())[0])


def test_a_module_in_memory_is_taken_as_it_is(package: str, spec: Path) -> None:
    net = make(package, width=16)
    opened = open_model(net, spec=spec)
    with torch.no_grad():
        assert torch.equal(opened.net(image()), net(image())[0])
        assert isinstance(net(image()), tuple), "the user's own module was changed"


def test_a_module_in_memory_with_weights_that_are_no_numbers_is_refused(package: str, spec: Path) -> None:
    net = make(package, width=16)
    with torch.no_grad():
        next(net.parameters()).view(-1)[0] = torch.nan
    with pytest.raises(CheckpointError, match="holds NaN or infinity"):
        open_model(net, spec=spec)


def test_arguments_of_the_factory_are_recorded(package: str, tmp_path: Path) -> None:
    opened = open_model(f"{package}:build", spec=write_spec(tmp_path, more="[arguments]\nwidth = 16"))
    assert opened.spec.arguments == {"width": 16}
    assert load_checkpoint(opened.folder).net.stem.conv.out_channels == 16


def test_a_spec_beside_the_module_is_found(package: str, spec: Path) -> None:
    assert open_model(f"{package}:build").spec.name == "mine"
    spec.unlink()
    with pytest.raises(InputError, match=r"preprocessing are not known.*--spec"):
        open_model(f"{package}:build")


def test_another_size_is_checked_by_a_forward_pass(package: str, spec: Path) -> None:
    opened = open_model(f"{package}:build", spec=spec, size=(96, 128))
    assert opened.net(image((96, 128))).shape == opened.spec.outputs[0].shape == (1, 11, 24, 32)


def test_a_factory_that_takes_the_size_builds_for_each(package: str, spec: Path) -> None:
    opened = open_model(f"{package}:Sized", spec=spec)
    larger = open_model(opened, size=(128, 96))
    assert larger.net(image((128, 96))).shape == (1, 11, 16, 12)
    assert torch.equal(larger.net.conv.weight, opened.net.conv.weight)
    with pytest.raises(AssertionError, match="another size"):
        opened.net(image((128, 96)))


def test_the_net_is_deployed_not_the_name(package: str, spec: Path) -> None:
    opened = open_model(f"{package}:build", spec=spec)
    with torch.no_grad():
        opened.net.head.bias.fill_(7.0)
    copied = net_at(opened.net, spec=opened.spec, built_for=opened.spec.size)
    assert torch.equal(copied(image()), opened.net(image()))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("broken", r"broken\(num_classes=11\): failed with RuntimeError: no such backbone"),
        ("number", "returned a int"),
        ("buld", 'Did you mean "build"'),
    ],
)
def test_a_factory_that_gives_no_net_is_answered_in_one_line(package: str, spec: Path, name: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as raised:
        open_model(f"{package}:{name}", spec=spec)
    assert "\n" not in str(raised.value)


def test_a_missing_module_is_named(spec: Path) -> None:
    with pytest.raises(InputError, match=r"there is no module nowhere_nets.*PYTHONPATH"):
        open_model("nowhere_nets.models:build", spec=spec)
    with pytest.raises(InputError, match='Did you mean "fast_scnn:camvid"'):
        open_model("fast_scn:camvid")


def test_a_checkpoint_whose_module_is_gone_is_answered_in_one_line(tmp_path: Path, spec: Path) -> None:
    with foreign_package(tmp_path, "passing_nets") as name:
        folder = open_model(f"{name}:build", spec=spec).folder
    with pytest.raises(InputError, match="there is no module passing_nets"):
        load_checkpoint(folder)


def test_a_checkpoint_cannot_have_any_function_called(package: str, spec: Path, tmp_path: Path) -> None:
    opened = open_model(f"{package}:build", spec=spec)
    save_checkpoint(tmp_path / "evil", net=opened.net, spec=opened.spec)
    text = json.loads((tmp_path / "evil" / "spec.json").read_text())
    for evil in ("os:system", f"{package}:unannotated"):
        (tmp_path / "evil" / "spec.json").write_text(json.dumps({**text, "architecture": evil}))
        with pytest.raises(UnsupportedError, match=r"is not called.*-> nn.Module"):
            load_checkpoint(tmp_path / "evil")


def test_fresh_weights_are_the_same_each_time(package: str, spec: Path) -> None:
    torch.manual_seed(7)
    one, before = open_model(f"{package}:build", spec=spec), torch.random.get_rng_state()
    other = open_model(f"{package}:build", spec=spec)
    assert one.spec.weights_sha256 == other.spec.weights_sha256
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_checkpoints_code_in_the_working_folder_is_not_run_unasked(
    tmp_path: Path, spec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(factory, "_trusted", set())
    with foreign_package(tmp_path, "local_nets") as name:
        folder = open_model(f"{name}:build", spec=spec).folder
    monkeypatch.setattr(factory, "_trusted", set())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"no module local_nets. It is in this folder.*export PYTHONPATH=\."):
        load_checkpoint(folder)
    open_model("local_nets:build", spec=spec)
    assert factory.path_prefix("local_nets:build") == "PYTHONPATH=. "
    assert factory.path_prefix("fast_scnn") == ""
    monkeypatch.syspath_prepend(str(tmp_path))
    assert factory.path_prefix("local_nets:build") == ""
    sys.modules.pop("local_nets")


def test_a_function_that_the_user_named_needs_no_annotation(
    package: str, spec: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(factory, "_trusted", set())
    opened = open_model(f"{package}:unannotated", spec=spec)
    assert load_checkpoint(opened.folder).spec == opened.spec


def test_weights_that_do_not_fit_are_counted(package: str, spec: Path, tmp_path: Path) -> None:
    state = make(package).state_dict()
    del state["head.bias"]
    torch.save({**state, "loss.scale": torch.ones(1), "head.weight": torch.zeros(3, 32, 1, 1)}, tmp_path / "w.pth")
    words = r"of \d+ tensors match; 1 missing, first head.bias; 1 unexpected, first loss.scale; 1 of another shape"
    with pytest.raises(CheckpointError, match=words):
        open_model(f"{package}:build", weights=tmp_path / "w.pth", spec=spec)


def test_a_wrong_count_of_classes_is_named(package: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="returns 11 channels for 3 classes"):
        open_model(make(package), spec=write_spec(tmp_path, classes=3))


def test_a_checkpoint_takes_no_second_spec(spec: Path) -> None:
    with pytest.raises(InputError, match="has its own spec"):
        open_model("fast_scnn:camvid", spec=spec)


@pytest.mark.parametrize(
    ("classes", "more", "words"),
    [
        (3, "sise = 1", 'unknown key "sise"'),
        ('["a", "a"]', "", "listed twice"),
        (2, "palette = [[0, 0, 0]]", "1 colours for 2 classes"),
        (2, "ignore_index = -100", "ignore_index = -100: give 0 to 255"),
        (0, "", "at least two classes"),
        ('["crack"]', "", r'only "crack": name what is not crack'),
        (256, "", "256: at most 255 fit into label maps of one byte"),
        (2, "[output]\nthreshold = 1.0", "threshold = 1: give a probability between 0 and 1"),
        (2, "[output]\none_channel = 'p'", "expected one of logit, probability"),
    ],
)
def test_a_wrong_spec_names_its_key(package: str, tmp_path: Path, classes: object, more: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        open_model(f"{package}:build", spec=write_spec(tmp_path, classes=classes, more=more))


def test_a_registered_name_takes_weights_of_ones_own(spec: Path, tmp_path: Path) -> None:
    from edgeseg.models import build

    net = build("fast_scnn", classes=11, size=(64, 96)).eval()
    torch.save({"model": net.state_dict()}, tmp_path / "w.pt")
    opened = open_model("fast_scnn", weights=tmp_path / "w.pt", spec=spec)
    assert opened.spec.output is None
    with torch.no_grad():
        assert torch.equal(opened.net(image()), net(image()))


@pytest.mark.parametrize("name", ["fast_scnn:nowhere", "best.pth", "runs/best"])
def test_other_names_are_answered_as_before(name: str) -> None:
    with pytest.raises(EdgesegError):
        open_model(name)
