"""Readers of data sets, each on a small tree laid out as the real one, and dataset.toml."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from contracts.dataset_contract import DatasetContract

from edgeseg.data import open_dataset
from edgeseg.data.pairs import CITYSCAPES
from edgeseg.data.streets import CLASSES
from edgeseg.data.voc import VOC_CLASSES
from edgeseg.errors import DatasetError, EdgesegError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Image = pytest.importorskip("PIL.Image", reason="Pillow, which writes palette PNGs, comes with matplotlib")


def pair(image: Path, labels: Path, values: tuple[int, ...]) -> None:
    """Write an image and a label map of vertical stripes of `values`."""
    for path in (image, labels):
        path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(image), np.full((12, 24, 3), 90, np.uint8))
    stripes = np.repeat(np.array(values, np.uint8), 24 // len(values))
    cv2.imwrite(str(labels), np.tile(stripes, (12, 1)))


class TestFolder(DatasetContract):
    reader, classes = "folder", ("a", "b")

    def write(self, root: Path) -> str:
        for index in range(3):
            pair(root / f"images/train/{index}.jpg", root / f"labels/train/{index}.png", (0, 1, 255))
        (root / "classes.txt").write_text("a\nb\n", encoding="utf-8")
        return str(root)


class TestStreets(DatasetContract):
    reader, classes = "streets", CLASSES

    def write(self, root: Path) -> str:
        return "3"


class TestCityscapes(DatasetContract):
    reader, classes = "cityscapes", tuple(name for name, _ in CITYSCAPES.classes)

    def write(self, root: Path) -> str:
        for city in ("aachen", "bochum", "zurich"):
            name = f"{city}/{city}_000000_000019"
            image = root / f"leftImg8bit/train/{name}_leftImg8bit.png"
            pair(image, root / f"gtFine/train/{name}_gtFine_labelIds.png", (7, 26, 3))
        return str(root)


class TestAde20k(DatasetContract):
    reader, classes = "ade20k", ("wall", "building")

    def write(self, root: Path) -> str:
        for index in range(3):
            name = f"ADE_train_{index:08d}"
            pair(root / f"images/training/{name}.jpg", root / f"annotations/training/{name}.png", (0, 1, 2))
        (root / "classes.txt").write_text("wall\nbuilding\n", encoding="utf-8")
        return str(root)


class TestVoc(DatasetContract):
    reader, classes = "voc", VOC_CLASSES

    def write(self, root: Path) -> str:
        names = ("2007_000032", "2007_000039", "2007_000063")
        for name in names:
            labels = root / f"SegmentationClass/{name}.png"
            pair(root / f"JPEGImages/{name}.jpg", labels, (0, 15, 255))
            palette = Image.fromarray(cv2.imread(str(labels), cv2.IMREAD_GRAYSCALE), "P")
            palette.putpalette([value * 7 % 256 for value in range(768)])
            palette.save(labels)
        lists = root / "ImageSets" / "Segmentation"
        lists.mkdir(parents=True)
        (lists / "train.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
        return str(root)


def described(root: Path, text: str) -> str:
    """Write six pairs of two patients and their dataset.toml."""
    for patient in (1, 2, 3):
        for index in (0, 1):
            pair(root / f"photos/p{patient}_{index}.png", root / f"masks/p{patient}_{index}_mask.png", (0, 1, 2))
    (root / "dataset.toml").write_text(
        'schema = 1\nreader = "pairs"\n[data]\nimages = "photos/*.png"\nlabels = "masks/*_mask.png"\n' + text,
        encoding="utf-8",
    )
    return str(root)


SPLITS = '[splits]\ngroup = "^(p\\\\d)_"\n'


def test_ids_map_to_classes_and_groups_never_split(tmp_path: Path) -> None:
    text = described(tmp_path, f'ignore = [2]\n[classes]\nback = 0\nvessel = 1\n{SPLITS}val = ["p2"]\n')
    data = open_dataset(text, split="val")
    assert [data.item_id(index) for index in range(len(data))] == ["p2_0", "p2_1"]
    assert sorted(np.unique(data.load(0).labels).tolist()) == [0, 1, 255]
    train = open_dataset(str(tmp_path / "dataset.toml"), split="train")
    assert {train.item_id(index)[:2] for index in range(len(train))} == {"p1", "p3"}
    shared = described(tmp_path, f"[classes]\nback = 0\nvessel = [1, 2]\n{SPLITS}val = 0.34\n")
    assert (len(open_dataset(shared, split="val")), len(open_dataset(shared, split="train"))) == (2, 4)


def members(text: str, split: str) -> list[str]:
    data = open_dataset(text, split=split)
    return [data.item_id(index) for index in range(len(data))]


def test_a_share_takes_nothing_that_a_list_holds(tmp_path: Path) -> None:
    named = f'[classes]\nback = 0\nvessel = [1, 2]\n{SPLITS}val = ["p1", "p2"]\ntest = 0.3\n'
    text = described(tmp_path, named)
    assert {name[:2] for name in members(text, "val")} == {"p1", "p2"}
    assert {name[:2] for name in members(text, "test")} == {"p3"}
    for first, second in (("p1", "p2"), ("p2", "p3"), ("p1", "p3")):  # one of them is the share's first choice
        text = described(tmp_path, named.replace('["p1", "p2"]', f'["{first}", "{second}"]'))
        assert {name[:2] for name in members(text, "val")} == {first, second}
    text = described(tmp_path, named.replace('["p1", "p2"]', "0.3"))
    assert [len(members(text, split)) for split in ("train", "val", "test")] == [2, 2, 2]


def test_a_list_divides_no_group_and_no_sample_is_in_two_splits(tmp_path: Path) -> None:
    classes = "[classes]\nback = 0\nvessel = [1, 2]\n"
    text = described(tmp_path, f'{classes}{SPLITS}val = "val.txt"\n')
    (tmp_path / "val.txt").write_text("p1_0\n", encoding="utf-8")
    with pytest.raises(DatasetError, match=r'val\.txt: lists p1_0, but not p1_1 of the same group, "p1"'):
        open_dataset(text, split="train")
    (tmp_path / "val.txt").write_text("p1_0\np1_1\n", encoding="utf-8")
    assert members(text, "val") == ["p1_0", "p1_1"]
    text = described(tmp_path, f'{classes}{SPLITS}val = "val.txt"\ntest = ["p1"]\n')
    with pytest.raises(InputError, match=r'val and test of .* both have "p1_0"'):
        open_dataset(text, split="train")


def test_colours_map_to_classes(tmp_path: Path) -> None:
    text = described(tmp_path, '[classes]\nroad = "#804080"\nsky = "#0000ff"\n[splits]\nval = 0.5\n')
    for path in (tmp_path / "masks").iterdir():
        colours = np.zeros((12, 24, 3), np.uint8)
        colours[:] = (0x80, 0x40, 0x80)
        colours[:, 12:] = (255, 0, 0)
        cv2.imwrite(str(path), colours)
    labels = open_dataset(text, split="train").load(0).labels
    assert (labels[0, 0], labels[0, -1]) == (0, 1)
    odd = np.full((12, 24, 3), (3, 2, 1), np.uint8)
    for path in (tmp_path / "masks").iterdir():
        cv2.imwrite(str(path), odd)
    with pytest.raises(
        DatasetError, match=r"_mask\.png: colour #010203 \(288 pixels\), which dataset.toml \[classes\]"
    ):
        open_dataset(text, split="train").load(0)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("[classes]\na = 0\nb = 0\n", "b = 0: another class has this value already"),
        ('[classes]\na = 0\nb = "#112233"\n', "mix ids and colours"),
        ('[classes]\na = "red"\n', '"red" is not a colour'),
        ("range = [9, 3]\n", r"range = \[9.0, 3.0\]: give \[low, high\]"),
        ("maxpixels = 3\n", "max_pixels"),
        ("[classes]\n" + "".join(f"c{i} = {i}\n" for i in range(257)), "257 classes; 255 are possible"),
        ("[classes]\na = 0\nb = 1\n", "does not say where the split is"),
        ("[classes]\na = 0\nb = 1\n[splits]\nval = 0.5\n", r"_mask.png: class index 2 \(96 pixels\), but dataset.toml"),
    ],
)
def test_mistakes_of_a_description_are_one_clear_line(table: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(EdgesegError, match=says):
        open_dataset(described(tmp_path, table), split="train").load(0)


READERS = {
    TestFolder: ("images/train/*.jpg", "labels/train/*.png"),
    TestCityscapes: ("leftImg8bit/train/*/*.png", "gtFine/train/*/*.png"),
    TestAde20k: ("images/training/*.jpg", "annotations/training/*.png"),
    TestVoc: ("JPEGImages/*.jpg", "SegmentationClass/*.png"),
}


def test_single_characters_and_links_are_part_of_a_pattern(tmp_path: Path) -> None:
    for name in ("a1", "a2", "b1"):
        pair(tmp_path / f"disk/{name}.jpg", tmp_path / f"disk/{name}_mask.png", (0, 1))
    (tmp_path / "in").mkdir()
    (tmp_path / "in/clinic").symlink_to(tmp_path / "disk")
    (tmp_path / "dataset.toml").write_text(
        'schema = 1\nreader = "pairs"\n[data]\nimages = "in/**/[ab]?.jpg"\nlabels = "./in/**/[ab]?_mask.png"\n'
        '[classes]\nx = 0\ny = 1\n[splits]\nval = ["clinic/b1"]\n',
        encoding="utf-8",
    )
    data = open_dataset(str(tmp_path), split="train")
    assert [data.item_id(index) for index in range(len(data))] == ["clinic/a1", "clinic/a2"]


def test_a_list_of_voc_counts_each_name_once_whatever_its_ends_of_lines(tmp_path: Path) -> None:
    for name in ("a", "b"):
        pair(tmp_path / f"JPEGImages/{name}.jpg", tmp_path / f"SegmentationClass/{name}.png", (0, 1, 255))
    path = tmp_path / "ImageSets/Segmentation/train.txt"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\xef\xbb\xbfa\r\n\r\nb 1\r\n")
    assert len(open_dataset(f"voc:{tmp_path}", split="train")) == 2
    path.write_bytes(b"a\nb\na\n")
    with pytest.raises(DatasetError, match=r'train\.txt: lists "a" more than once'):
        open_dataset(f"voc:{tmp_path}", split="train")
    path.write_bytes(b"a\n\xe9\n")
    with pytest.raises(DatasetError, match=r"train\.txt: cannot be read as a list of names"):
        open_dataset(f"voc:{tmp_path}", split="train")


def test_a_pattern_with_the_split_takes_no_splits(tmp_path: Path) -> None:
    TestCityscapes().write(tmp_path)
    (tmp_path / "dataset.toml").write_text('schema = 1\nreader = "cityscapes"\n[splits]\nval = 0.5\n', encoding="utf-8")
    with pytest.raises(InputError, match=r"its \{split\} already says where each split is\. Remove \[splits\]"):
        open_dataset(str(tmp_path / "dataset.toml"), split="train")


def shows_id_34(_: Path, labels: Path) -> None:
    cv2.imwrite(str(labels), np.full((12, 24), 34, np.uint8))


def is_too_small(_: Path, labels: Path) -> None:
    cv2.imwrite(str(labels), np.zeros((6, 12), np.uint8))


def is_of_the_unrotated_pixels(image: Path, _: Path) -> None:
    exif = Image.Exif()
    exif[0x112] = 6
    Image.fromarray(np.full((12, 24, 3), 90, np.uint8)).save(image, exif=exif)


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.reader)
@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (shows_id_34, r"(id|class index) 34 \(288 pixels\)"),
        (is_too_small, r"label map is 6x12, its image \S+ is 12x24"),
        (is_of_the_unrotated_pixels, r"label map is 12x24, which fits its image \S+ only before .* orientation 6"),
    ],
)
def test_a_mask_that_does_not_fit_is_one_line_with_file_and_value(
    reader: type[DatasetContract], spoil: Callable[[Path, Path], None], says: str, tmp_path: Path
) -> None:
    images, labels = READERS[reader]
    text = f"{reader.reader}:{reader().write(tmp_path)}"
    mask = sorted(tmp_path.glob(labels))[0]
    spoil(sorted(tmp_path.glob(images))[0], mask)
    with pytest.raises(EdgesegError, match=says) as caught:
        open_dataset(text, split="train").load(0)
    assert mask.name in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_label_map_is_rotated_by_its_own_orientation(tmp_path: Path) -> None:
    root = TestFolder().write(tmp_path)
    exif = Image.Exif()
    exif[0x112] = 6
    stored = np.arange(24, dtype=np.uint8) // 12 * np.ones((12, 1), np.uint8)
    Image.fromarray(np.full((12, 24, 3), 90, np.uint8)).save(tmp_path / "images/train/0.jpg", exif=exif)
    Image.fromarray(stored).save(tmp_path / "labels/train/0.png", exif=exif)
    assert np.array_equal(open_dataset(root, split="train").load(0).labels, np.rot90(stored, -1))


def test_a_shifted_suffix_names_the_files(tmp_path: Path) -> None:
    text = described(tmp_path, "[splits]\nval = 0.5\n")
    (tmp_path / "masks" / "p1_0_mask.png").rename(tmp_path / "masks" / "p9_0_mask.png")
    with pytest.raises(InputError, match=r"p1_0\.png: no label map matches .*(\n.*)*p9_0_mask\.png: no image matches"):
        open_dataset(text, split="train")


def test_low_bit_masks_hold_their_own_values(tmp_path: Path) -> None:
    text = described(tmp_path, "[classes]\na = 0\nb = 1\n[splits]\nval = 0.5\n")
    for path in (tmp_path / "masks").iterdir():
        mask = np.zeros((12, 24), bool)
        mask[:, :12] = True
        Image.fromarray(mask).save(path)
    assert open_dataset(text, split="train").load(0).labels[0].tolist() == [1] * 12 + [0] * 12


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        ("Proprietary. (c) 2026 ACME IMAGING LIMITED. All rights reserved.", "unknown: see LICENSE.txt"),
        ("We are committed to quality. Permitted uses: none.", "unknown: see LICENSE.txt"),
        ("CC BY 4.0", "CC-BY-4.0"),
        ("See https://creativecommons.org/licenses/by-nc/4.0/legalcode", "CC-BY-NC-4.0"),
        ("SPDX-License-Identifier: MIT", "MIT"),
        ("MIT\nCC0", "unknown: see LICENSE.txt"),
        ("MIT\nConfidential, for internal use only.", "unknown: see LICENSE.txt"),
    ],
)
def test_licences_are_known_whole_or_not_at_all(text: str, licence: str, tmp_path: Path) -> None:
    from edgeseg.data.licence import read_licence

    (tmp_path / "LICENSE.txt").write_text(text, encoding="utf-8")
    assert read_licence(tmp_path) == licence


def test_validate_refuses_labels_of_one_class_and_names_missing_ones(tmp_path: Path) -> None:
    from contracts import tiny_artifact

    from edgeseg.verbs.validate import validate

    artifact = tiny_artifact.make_artifact(tmp_path / "tiny", file_format="onnx").folder
    root = tmp_path / "set"
    (root / "images").mkdir(parents=True)
    (root / "classes.txt").write_text("\n".join(tiny_artifact.CLASSES), encoding="utf-8")
    pair(root / "images/val/0.jpg", root / "labels/val/0.png", (0, 1, 2))
    found = validate(str(artifact), data=str(root))
    assert "set val: no pixel is tree: 1 of 4 classes never occur" in found.findings[0]
    assert 1 <= found.classes_scored <= 4
    pair(root / "images/val/0.jpg", root / "labels/val/0.png", (2, 255))
    with pytest.raises(DatasetError, match="road is the only one of 4 classes that occurs"):
        validate(str(artifact), data=str(root))
    assert "road is the only one" in validate(str(artifact), data=str(root), limit=1).findings[0]
