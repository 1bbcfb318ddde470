"""A spec.toml that `edgeseg spec` writes opens the net; --check ranks the right preprocessing first."""

from __future__ import annotations

import json
import types
import warnings
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
import torch
from contracts.foreign_package import foreign_package, write_spec
from torch import nn

from edgeseg.cli.main import main
from edgeseg.core.spec_file import read_spec_file
from edgeseg.errors import InputError
from edgeseg.models import open_model
from edgeseg.models.spec_draft import _classes
from edgeseg.verbs.spec import check_spec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CLASSES = ("sky", "grass", "brick")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with foreign_package(tmp_path_factory.mktemp("package")) as name:
        yield name


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data set of colour stripes, 60x150, whose classes are their colours."""
    root, random = tmp_path_factory.mktemp("stripes"), np.random.default_rng(0)
    colours = np.array([[200, 120, 60], [60, 180, 90], [40, 60, 190]], np.uint8)
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
        for index in range(3):
            labels = np.repeat(random.integers(0, 3, 10), 15).astype(np.uint8)[None].repeat(60, axis=0)
            cv2.imwrite(str(root / "images" / split / f"{index}.png"), colours[labels])
            cv2.imwrite(str(root / "labels" / split / f"{index}.png"), labels)
    (root / "classes.txt").write_text("\n".join(CLASSES), encoding="utf-8")
    return root


def write(words: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    assert main(["spec", *words, "--json"]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_the_spec_opens_the_net_and_marks_its_guesses(
    package: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "spec.toml"
    found = write([f"{package}:build", "--out", str(path)], capsys)
    assert {"size", "licence", "preprocess.mean", "preprocess.color_order"} <= set(found["guessed"])  # type: ignore[call-overload]
    assert "classes = 11" in path.read_text(encoding="utf-8")
    assert path.read_text(encoding="utf-8").count("# guessed, check it") == len(found["guessed"])  # type: ignore[arg-type]
    assert open_model(f"{package}:build", spec=path).spec.output_stride == 4


def test_data_and_weights_say_the_classes(
    package: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(__import__(package).Net(3).state_dict(), tmp_path / "w.pth")
    path = tmp_path / "spec.toml"
    write([f"{package}:build", "--weights", str(tmp_path / "w.pth"), "--data", str(data), "--out", str(path)], capsys)
    spec = read_spec_file(path)
    assert (spec.classes, spec.size) == (CLASSES, (64, 160))
    path.unlink()
    write([f"{package}:build", "--weights", str(tmp_path / "w.pth"), "--out", str(path)], capsys)
    assert read_spec_file(path).classes == 3, "without data, from the weights: the factory's default is 11"


def test_a_stated_preprocessing_is_not_a_guess(
    package: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25], "size": {"height": 96, "width": 128}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(table), encoding="utf-8")
    torch.save(__import__(package).Net().state_dict(), tmp_path / "w.pth")
    path = tmp_path / "spec.toml"
    found = write([f"{package}:build", "--weights", str(tmp_path / "w.pth"), "--out", str(path)], capsys)
    spec = read_spec_file(path)
    assert (spec.size, spec.preprocess.mean, spec.preprocess.std[0]) == ((96, 128), (0.5, 0.5, 0.5), 0.25)
    assert not {"size", "preprocess.mean", "preprocess.std"} & set(found["guessed"])  # type: ignore[call-overload]


def test_names_by_number_keep_their_order_past_ten_classes() -> None:
    net = nn.Conv2d(3, 12, 1)
    names = {str(number): f"name {number}" for number in range(12)}
    net.config = types.SimpleNamespace(id2label=names)  # type: ignore[assignment]
    line = _classes(net, channels=12, data=None)
    assert json.loads(line.value) == [f"name {number}" for number in range(12)]


def test_a_spec_is_not_overwritten_and_weights_alone_are_told_apart(
    package: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_spec(tmp_path)
    assert main(["spec", f"{package}:build", "--out", str(tmp_path / "spec.toml")]) == 1
    assert main(["spec", "best.pth", "--out", str(tmp_path / "other.toml")]) == 1
    assert main(["spec", "fast_scnn:camvid", "--out", str(tmp_path / "other.toml")]) == 1
    said = capsys.readouterr().err
    assert "exists already" in said
    assert "weights alone do not say which net" in said
    assert "is a checkpoint, which has its own spec" in said


class Nearest(nn.Module):
    """Classes by the nearest colour of normalised BGR pixels in -1 .. 1: a net that was trained with OpenCV images."""

    def __init__(self) -> None:
        super().__init__()
        colours = torch.tensor([[200, 120, 60], [60, 180, 90], [40, 60, 190]]) / 127.5 - 1
        self.head = nn.Conv2d(3, 3, 1)
        with torch.no_grad():
            self.head.weight.copy_(2 * colours[:, :, None, None])
            self.head.bias.copy_(-(colours**2).sum(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(nn.functional.avg_pool2d(x, 2))


def test_the_right_preprocessing_is_ranked_first(data: Path, tmp_path: Path) -> None:
    path = write_spec(tmp_path, classes=3)
    found = check_spec(open_model(Nearest(), spec=path), data=str(data), limit=2)
    best = found.best.preprocess
    assert (best.color_order, best.mean, best.std) == ("bgr", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert found.best.miou > 0.95 > found.own.miou
    assert "costs" in found.verdict
    assert {trial.preprocess.resize for trial in found.trials} == {"stretch", "letterbox"}


def test_check_prints_the_table_to_paste(
    package: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_spec(tmp_path, classes=3)
    words = ["spec", f"{package}:build", "--spec", str(path), "--check", "--data", str(data), "--limit", "1"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "as the spec says" in shown
    assert main(words[:-4]) == 2
    assert main([*words[:4], "--out", str(tmp_path / "n.toml")]) == 2
    with pytest.raises(InputError, match="has 11: the labels cannot tell"):
        check_spec("fast_scnn:camvid", data=str(data))


def test_a_model_file_is_started_and_checked(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Nearest().eval(), (torch.zeros(1, 3, 64, 96),), tmp_path / "theirs.onnx", dynamo=True, verbose=False
        )
    path = tmp_path / "spec.toml"
    found = write([str(tmp_path / "theirs.onnx"), "--out", str(path)], capsys)
    assert "mean" in found["guessed"]  # type: ignore[operator]
    assert read_spec_file(path).size == (64, 96)
    checked = check_spec(str(tmp_path / "theirs.onnx"), spec=path, data=str(data), limit=2)
    assert checked.best.preprocess.color_order == "bgr"
    assert checked.best.miou > 0.95 > checked.own.miou
