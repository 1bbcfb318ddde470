"""Folder data sets: what is wrong is said by file name, all of it, with what to do."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeseg.data import Dataset, FolderDataset, ImageFolder, open_dataset, split_of
from edgeseg.errors import DatasetError, UnknownName


@pytest.fixture
def root(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 2)):
        (tmp_path / "images" / split).mkdir(parents=True)
        (tmp_path / "labels" / split).mkdir(parents=True)
        for i in range(count):
            image = rng.integers(0, 255, (20, 30, 3), np.uint8)
            labels = rng.integers(0, 3, (20, 30), np.uint8)
            labels[0, 0] = 255
            cv2.imwrite(str(tmp_path / "images" / split / f"{i}.jpg"), image)
            cv2.imwrite(str(tmp_path / "labels" / split / f"{i}.png"), labels)
    (tmp_path / "classes.txt").write_text("sky\nroad\ncar\n")
    (tmp_path / "LICENSE.txt").write_text("These images: CC BY 4.0\n")
    return tmp_path


def problems_of(root: Path) -> str:
    with pytest.raises(DatasetError) as caught:
        FolderDataset.open(root)
    assert str(root) in str(caught.value)
    return str(caught.value)


def test_a_sound_folder(root):
    data = open_dataset(str(root), split="train")
    assert isinstance(data, Dataset)
    assert (len(data), data.classes, data.licence, data.split) == (4, ("sky", "road", "car"), "CC-BY-4.0", "train")
    assert data.name == root.name
    sample = data.load(2)
    assert (sample.id, sample.image.shape, sample.labels.shape) == ("2", (20, 30, 3), (20, 30))
    assert isinstance(data, FolderDataset)
    assert data.check() == ()


def test_folders_that_are_not_there(root, tmp_path_factory):
    with pytest.raises(DatasetError, match="no such folder"):
        FolderDataset.open(root / "nowhere")
    with pytest.raises(DatasetError, match="a file, not a folder"):
        FolderDataset.open(root / "classes.txt")
    with pytest.raises(DatasetError, match="an empty folder"):
        FolderDataset.open(tmp_path_factory.mktemp("empty"))
    with pytest.raises(DatasetError, match=r'no split "test". It has: train, val'):
        FolderDataset.open(root, split="test")
    with pytest.raises(UnknownName, match='Did you mean "val"'):
        FolderDataset.open(root, split="vall")


def test_a_split_without_images(root):
    for path in (root / "images" / "train").iterdir():
        path.unlink()
    assert "no images in it" in problems_of(root)


def test_pairs_that_do_not_match_are_all_named(root):
    (root / "labels" / "train" / "1.png").unlink()
    (root / "images" / "train" / "3.jpg").unlink()
    text = problems_of(root)
    assert "1.jpg: no label map" in text
    assert "3.png: no image" in text


def test_duplicate_stems_and_other_files_are_all_named(root):
    (root / "images" / "train" / "0.png").write_bytes((root / "labels" / "train" / "0.png").read_bytes())
    (root / "images" / "train" / "notes.docx").write_text("x")
    (root / "images" / "train" / "more").mkdir()
    (root / "images" / "train" / ".DS_Store").write_text("x")
    text = problems_of(root)
    assert "0.png: has the same stem as 0.jpg" in text
    assert "notes.docx: file type .docx" in text
    assert "more: a folder" in text
    assert "DS_Store" not in text


def test_label_maps_must_be_png(root):
    (root / "labels" / "train" / "0.png").rename(root / "labels" / "train" / "0.jpg")
    assert "0.jpg: label map is .jpg, PNG is needed" in problems_of(root)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("sky\n\ncar\n", "line 2 is empty"),
        ("sky\ncar\nsky\n", "line 3 names"),
        (None, "no such file"),
        pytest.param("".join(f"class {i}\n" for i in range(256)), "256 classes, 255 are possible", id="256"),
    ],
)
def test_classes_file(root, text, says):
    (root / "classes.txt").unlink()
    if text is not None:
        (root / "classes.txt").write_text(text)
    found = problems_of(root)
    assert says in found
    assert "classes.txt" in found


def test_check_names_every_bad_file(root):
    train = root / "labels" / "train"
    cv2.imwrite(str(train / "0.png"), np.full((20, 30), 200, np.uint8))
    cv2.imwrite(str(train / "1.png"), np.zeros((20, 31), np.uint8))
    cv2.imwrite(str(train / "2.png"), np.zeros((20, 30, 3), np.uint8))
    whole = (root / "images" / "train" / "3.jpg").read_bytes()
    (root / "images" / "train" / "3.jpg").write_bytes(whole[: len(whole) // 2])
    found = FolderDataset.open(root).check()
    assert len(found) == 4
    assert "0.png: class index 200 (600 pixels), but classes.txt has 3 classes (0 to 2; 255 = ignore)" in found[0]
    assert "1.png: label map is 20x31, its image 1.jpg is 20x30" in found[1]
    assert "2.png: label map has 3 channels" in found[2]
    assert "3.jpg: truncated JPEG" in found[3]
    assert len(FolderDataset.open(root).check(2)) == 2


@pytest.mark.parametrize(
    ("content", "says"), [(b"", "empty file"), (b"hello, not an image", "not a readable"), (None, "truncated PNG")]
)
def test_unreadable_label_files(root, content, says):
    path = root / "labels" / "train" / "0.png"
    path.write_bytes(path.read_bytes()[:60] if content is None else content)
    with pytest.raises(DatasetError, match=says) as caught:
        FolderDataset.open(root).load(0)
    assert "0.png" in str(caught.value)


def test_sixteen_bit_labels_are_refused(root):
    cv2.imwrite(str(root / "labels" / "train" / "0.png"), np.zeros((20, 30), np.uint16))
    with pytest.raises(DatasetError, match="uint16, uint8 is needed"):
        FolderDataset.open(root).load(0)


def test_a_file_that_vanishes_is_named(root):
    data = FolderDataset.open(root)
    (root / "images" / "train" / "1.jpg").unlink()
    with pytest.raises(DatasetError, match=r"1\.jpg: cannot be read"):
        data.load(1)


def test_image_folders(root, tmp_path_factory):
    for path, count, split in ((root, 4, "train"), (root / "images" / "val", 2, "val"), (root / "images", 4, "train")):
        folder = ImageFolder.open(path)
        assert (len(folder), folder.split) == (count, split)
        assert folder.item_id(0) == "0.jpg"
        assert folder.load_image(0).shape == (20, 30, 3)
    with pytest.raises(DatasetError, match="no images in it"):
        ImageFolder.open(tmp_path_factory.mktemp("empty"))
    with pytest.raises(DatasetError, match="no such folder"):
        ImageFolder.open(root / "imagse")


def test_the_split_of_a_path():
    assert split_of("data/camvid/images/val") == "val"
    assert split_of("data/camvid/val/images") == "val"
    assert split_of("data/Test") == "test"
    assert split_of("/home/test/streets/images") is None
    assert split_of("data/validated/x") is None
    assert split_of(Path("images/training")) == "train"


def test_camvid_is_sound(shared_data):
    data = FolderDataset.open(shared_data / "camvid", split="val")
    assert (len(data), len(data.classes), data.licence) == (101, 11, "CC-BY-NC-4.0")
    assert data.check(8) == ()
