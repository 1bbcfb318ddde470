"""`edgeseg data check`: what a data set holds, and what is wrong with it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from edgeseg.cli.main import main
from edgeseg.data.survey import survey

if TYPE_CHECKING:
    from pathlib import Path


def street(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 1, (48, 64, 3)).astype(np.float32)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    root = tmp_path / "set"
    for split, seeds in (("train", range(4)), ("val", range(10, 12))):
        for part in ("images", "labels"):
            (root / part / split).mkdir(parents=True)
        for seed in seeds:
            labels = np.zeros((48, 64), np.uint8)
            labels[:, :16] = 1
            labels[:4] = 255
            cv2.imwrite(str(root / "images" / split / f"{seed}.png"), street(seed))
            cv2.imwrite(str(root / "labels" / split / f"{seed}.png"), labels)
    (root / "classes.txt").write_text("road\n<b>car</b>\ntree\n", encoding="utf-8")
    return root


def test_a_whole_data_set_is_described(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(data)]) == 0
    printed = capsys.readouterr()
    assert "train: 4 images, 48x64 (4)" in printed.out
    assert "train: no pixel is tree." in printed.out
    assert "no test split" in printed.err
    assert main(["data", "check", str(data), "--split", "train", "--split", "test"]) != 1
    assert 'has no split "test"' in capsys.readouterr().err, "asked for, it is said whole"
    found = survey(str(data))
    assert [(item.name, round(item.share, 2), item.images) for item in found.splits[0].classes] == [
        ("road", 0.75, 4), ("<b>car</b>", 0.25, 4), ("tree", 0.0, 0),
    ]  # fmt: skip
    assert found.splits[0].ignored == pytest.approx(4 / 48)
    assert found.sound


def test_images_in_two_splits_are_named_even_when_saved_again(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cv2.imwrite(str(data / "images" / "val" / "10.png"), street(2))
    (data / "images" / "val" / "11.png").unlink()
    cv2.imwrite(str(data / "images" / "val" / "11.jpg"), cv2.resize(street(3), (128, 96)))
    cv2.imwrite(str(data / "labels" / "val" / "11.png"), np.zeros((96, 128), np.uint8))
    assert main(["data", "check", str(data), "--json"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert [(item["first"], item["second"], item["how"]) for item in found["shared"]] == [
        ("train/2", "val/10", "same"), ("train/3", "val/11", "nearly the same"),
    ]  # fmt: skip
    assert any("2 images are in two splits" in line for line in found["findings"])
    assert not found["sound"]


def test_labels_of_a_single_class_are_said_to_teach_nothing(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (data / "labels" / "train").iterdir():
        cv2.imwrite(str(path), np.where(np.eye(48, 64), 255, 0).astype(np.uint8))
    assert main(["data", "check", str(data)]) == 3
    assert "set train: road is the only one of 3 classes that occurs" in capsys.readouterr().out


def test_flat_images_are_not_taken_for_each_other(data: Path) -> None:
    for split, name, grey in (("train", "0", 10), ("val", "10", 11)):
        cv2.imwrite(str(data / "images" / split / f"{name}.png"), np.full((48, 64, 3), grey, np.uint8))
    assert survey(str(data)).shared == ()


def test_odd_ids_and_broken_files_are_counted_and_named(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = np.zeros((48, 64), np.uint8)
    labels[0, :5] = 34
    cv2.imwrite(str(data / "labels" / "train" / "1.png"), labels)
    cv2.imwrite(str(data / "labels" / "train" / "2.png"), np.zeros((24, 64), np.uint8))
    (data / "images" / "train" / "3.png").write_bytes(b"no image")
    assert main(["data", "check", str(data), "--split", "train"]) == 3
    printed = capsys.readouterr().out
    assert "1.png: class index 34 (5 pixels)" in printed
    assert "2.png: label map is 24x64, its image 2.png is 48x64" in printed
    assert "3.png: " in printed
    assert "train: 3 of 4 samples cannot be used." in printed


def test_the_page_shows_thumbnails_and_escapes_names(data: Path, tmp_path: Path) -> None:
    page = tmp_path / "out" / "page.html"
    assert main(["data", "check", str(data), "--html", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert text.count("data:image/jpeg;base64,") == 6
    assert "&lt;b&gt;car&lt;/b&gt;" in text
    assert "<b>car" not in text
    assert "http" not in text


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nowhere"], "no such folder"),
        (["SET", "--split", "vall"], 'Did you mean "val"'),
        (["cocoa:x"], "no such folder"),
    ],
)
def test_what_cannot_be_opened_is_one_line(
    words: list[str], says: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "check", *(str(data) if word == "SET" else word for word in words)]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert says in printed.err
    assert len(printed.err.strip().splitlines()) == 1
