"""A new project's recipes are read back, say what the data holds, and are not overwritten."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from contracts.shapes import write_shapes

from edgeseg.cli.main import main
from edgeseg.compress.pipeline.recipe import read_pipeline
from edgeseg.errors import DatasetError, EdgesegError
from edgeseg.train import read_recipe
from edgeseg.verbs.new import new

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shapes(tmp_path_factory.mktemp("data") / "shapes", training=3, validation=1)


def test_the_recipes_are_for_the_data_and_the_device(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["new", "mine", "--data", str(data), "--target", "raspberry-pi-5", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert [command.split()[1] for command in made["commands"]] == ["train", "compress", "convert", "validate", "run"]
    recipe = read_recipe(tmp_path / "mine" / "train.toml")
    assert (recipe.name, recipe.model.size, recipe.data.train) == ("mine", (64, 96), str(data))
    assert recipe.run.batch == 3
    pipeline = read_pipeline(tmp_path / "mine" / "compress.toml")
    assert [stage.name for stage in pipeline.stages] == ["qat"]
    assert pipeline.model == str(tmp_path / "mine" / "train" / "checkpoint")
    text = (tmp_path / "mine" / "train.toml").read_text(encoding="utf-8")
    assert "#   background: " in text
    assert "GMACs" in text


def test_the_stages_that_are_switched_off_are_good_ones(data: Path, tmp_path: Path) -> None:
    new(tmp_path / "mine", data=str(data), target="raspberry-pi-5")
    path = tmp_path / "mine" / "compress.toml"
    lines = path.read_text(encoding="utf-8").splitlines()
    begin = next(index for index, line in enumerate(lines) if line == "# [[stages]]")
    lines[begin:] = [line.removeprefix("# ") for line in lines[begin:]]
    path.write_text("\n".join(lines), encoding="utf-8")
    assert [stage.name for stage in read_pipeline(path).stages] == ["prune", "finetune", "qat"]


def test_another_net_and_size(data: Path, tmp_path: Path) -> None:
    made = new(tmp_path / "mine", data=str(data), target="generic-x86", model="unet", size=(32, 64))
    recipe = read_recipe(made.recipes[0])
    assert (recipe.model.name, recipe.model.size, recipe.model.init) == ("unet", (32, 64), "")


@pytest.mark.parametrize(
    ("folder", "options", "words"),
    [
        ("mine", {"target": "rasberry-pi-5"}, 'Did you mean "raspberry-pi-5"'),
        ("mine", {"model": "unett"}, 'Did you mean "unet"'),
        ("my project", {}, "letters, digits"),
        ("nowhere/mine", {}, "no such folder"),
        ("mine", {"size": (30, 64)}, "multiples of 32"),
    ],
)
def test_what_cannot_be_used_is_said_and_nothing_written(
    data: Path, tmp_path: Path, folder: str, options: dict[str, object], words: str
) -> None:
    with pytest.raises(EdgesegError, match=words):
        new(tmp_path / folder, **{"data": str(data), "target": "raspberry-pi-5", **options})  # type: ignore[arg-type]
    assert not (tmp_path / folder).exists()


def test_every_image_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    root = write_shapes(tmp_path / "shapes", training=4, validation=1)
    broken = sorted((root / "images" / "train").iterdir())[:2]
    for image in broken:
        image.write_bytes(b"no image")
    with pytest.raises(DatasetError) as raised:
        new(tmp_path / "mine", data=str(root), target="iphone")
    assert all(image.name in str(raised.value) for image in broken)
    assert "2 of 4 samples" in str(raised.value)
    assert not (tmp_path / "mine").exists()


def test_recipes_are_not_overwritten(data: Path, tmp_path: Path) -> None:
    new(tmp_path / "mine", data=str(data), target="iphone")
    with pytest.raises(EdgesegError, match="exists already"):
        new(tmp_path / "mine", data=str(data), target="iphone")
    new(tmp_path / "mine", data=str(data), target="iphone", force=True)
