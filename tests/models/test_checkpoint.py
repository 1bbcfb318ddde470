"""Checkpoints come back as they were saved, or not at all; names lead to the right one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch

from edgeseg.core.spec import ModelSpec, Preprocess, TensorSpec
from edgeseg.errors import CheckpointError, EdgesegError, InputError, UnknownName
from edgeseg.models import build, load_checkpoint, resolve, resolve_model, save_checkpoint
from edgeseg.models.checkpoint import read_spec, read_training
from edgeseg.models.lineage import original_of

if TYPE_CHECKING:
    from pathlib import Path


def _spec(*, classes: int = 3, architecture: str = "fast_scnn") -> ModelSpec:
    return ModelSpec(
        name="tiny",
        architecture=architecture,
        classes=tuple(f"class {i}" for i in range(classes)),
        palette=((0, 0, 0),) * classes,
        ignore_index=255,
        inputs=(TensorSpec(name="image", shape=(1, 3, 64, 96), dtype="float32", layout="NCHW", role="image"),),
        outputs=(TensorSpec(name="logits", shape=(1, classes, 8, 12), dtype="float32", layout="NCHW", role="logits"),),
        preprocess=Preprocess(),
        output_stride=8,
        weights_sha256="",
        licence="Apache-2.0",
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    net = build("fast_scnn", classes=3, size=(64, 96), aux=True)
    save_checkpoint(tmp_path / "tiny", net=net, spec=_spec(), training={"seed": 0})
    return tmp_path / "tiny"


def test_a_checkpoint_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    net = build("fast_scnn", classes=3, size=(64, 96), aux=True).to(memory_format=torch.channels_last)
    saved = save_checkpoint(tmp_path / "c", net=net, spec=_spec(), training={"seed": 3, "miou": 0.5})
    for path in (tmp_path / "c", tmp_path / "c" / "weights.safetensors"):
        loaded = load_checkpoint(path)
        assert (loaded.spec, loaded.folder) == (saved, tmp_path / "c")
        assert not loaded.net.training
        x = torch.randn(1, 3, 64, 96)
        with torch.no_grad():
            torch.testing.assert_close(loaded.net(x), net.eval()(x))
    assert read_training(tmp_path / "c") == {"seed": 3, "miou": 0.5}
    assert len(read_spec(tmp_path / "c").weights_sha256) == 64


def test_saving_leaves_the_net_and_its_aux_heads_alone(tmp_path: Path) -> None:
    net = build("fast_scnn", classes=3, size=(64, 96), aux=True)
    save_checkpoint(tmp_path / "c", net=net, spec=_spec())
    assert net.training
    assert len(net.aux) == 2
    assert read_training(tmp_path / "c") == {}


def test_another_size_is_built_and_said(folder: Path) -> None:
    loaded = load_checkpoint(folder, size=(96, 128))
    assert (loaded.spec.size, loaded.spec.outputs[0].shape) == ((96, 128), (1, 3, 12, 16))
    assert loaded.net(torch.zeros(1, 3, 96, 128)).shape == (1, 3, 12, 16)


def _cut(folder: Path) -> None:
    weights = folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def _flip(folder: Path) -> None:
    weights = folder / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)


def _remove(folder: Path) -> None:
    (folder / "weights.safetensors").unlink()


def _respec(folder: Path, **changes: object) -> None:
    spec = json.loads((folder / "spec.json").read_text())
    (folder / "spec.json").write_text(json.dumps(spec | changes))


def _other_classes(folder: Path) -> None:
    _respec(folder, classes=["a", "b"], palette=[[0, 0, 0], [1, 1, 1]])


def _other_architecture(folder: Path) -> None:
    _respec(folder, architecture="lraspp_mobilenet_v3_small")


def _typo_in_architecture(folder: Path) -> None:
    _respec(folder, architecture="fast_scnnn")


def _unknown_key(folder: Path) -> None:
    _respec(folder, clases=1)


def _no_json(folder: Path) -> None:
    (folder / "spec.json").write_text("{")


def _no_spec(folder: Path) -> None:
    (folder / "spec.json").unlink()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_cut, "cut off"),
        (_flip, "was altered"),
        (_remove, "weights are missing"),
        (_other_classes, "of another shape, first classifier"),
        (_other_architecture, "missing, first encoder"),
        (_typo_in_architecture, 'Did you mean "fast_scnn"'),
        (_unknown_key, 'unknown key "clases"'),
        (_no_json, "not valid JSON"),
        (_no_spec, "no spec.json"),
    ],
)
def test_a_damaged_checkpoint_is_refused_in_one_line(folder: Path, damage: object, words: str) -> None:
    assert callable(damage)
    damage(folder)
    with pytest.raises(EdgesegError, match=words) as raised:
        load_checkpoint(folder)
    assert "\n" not in str(raised.value)


def test_training_notes_that_are_no_table_are_refused(folder: Path) -> None:
    (folder / "training.json").write_text("[1]")
    with pytest.raises(CheckpointError, match="must be a JSON table"):
        read_training(folder)


def test_a_missing_checkpoint_and_a_foreign_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such checkpoint"):
        load_checkpoint(tmp_path / "absent")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    with pytest.raises(InputError, match="not made by edgeseg"):
        save_checkpoint(tmp_path / "mine", net=build("fast_scnn", classes=3, size=(64, 96)), spec=_spec())


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("fast_scnn-streets", "fast_scnn-streets-half", "fast_scnn-camvid", "lraspp_mobilenet_v3_small-camvid",
                 "lraspp_mobilenet_v3_small-camvid-half"):  # fmt: skip
        (tmp_path / name).mkdir()
        (tmp_path / name / "spec.json").touch()
    monkeypatch.setattr(resolve, "_BUNDLED", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "folder"),
    [
        (None, "fast_scnn-streets-half"),
        ("fast_scnn", "fast_scnn-streets"),
        ("fast_scnn:camvid", "fast_scnn-camvid"),
        ("lraspp_mobilenet_v3_small", "lraspp_mobilenet_v3_small-camvid"),
        ("lraspp_mobilenet_v3_small:camvid", "lraspp_mobilenet_v3_small-camvid"),
    ],
)
def test_names_lead_to_bundled_checkpoints(shelf: Path, text: str | None, folder: str) -> None:
    assert resolve_model(text) == shelf / folder


def test_bundled_are_listed_by_the_name_that_resolves(shelf: Path) -> None:
    small = "lraspp_mobilenet_v3_small:camvid"
    fast = ("fast_scnn:camvid", "fast_scnn:streets", "fast_scnn:streets-half")
    assert resolve.bundled() == (*fast, small, f"{small}-half")


def test_paths_resolve_to_themselves(folder: Path) -> None:
    assert resolve_model(str(folder)) == folder
    assert resolve_model(str(folder / "weights.safetensors")) == folder / "weights.safetensors"


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("fast_scn", UnknownName, 'Did you mean "fast_scnn"'),
        ("fast_scnn:camvd", UnknownName, 'Did you mean "fast_scnn:camvid"'),
        ("lraspp_mobilenet_v3_large", InputError, "without trained weights"),
        ("runs/best", InputError, "no such checkpoint folder"),
        ("best.safetensors", InputError, "no such checkpoint folder"),
    ],
)
@pytest.mark.usefixtures("shelf")
def test_names_that_lead_nowhere_are_answered(text: str, error: type[EdgesegError], words: str) -> None:
    with pytest.raises(error, match=words):
        resolve_model(text)


def test_a_folder_without_a_spec_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a checkpoint"):
        resolve_model(str(tmp_path))


def test_a_compressed_bundled_checkpoint_names_the_one_it_came_from() -> None:
    assert original_of(resolve_model("fast_scnn:streets-half")) == "fast_scnn:streets"
    assert original_of(resolve_model("fast_scnn:camvid")) is None
