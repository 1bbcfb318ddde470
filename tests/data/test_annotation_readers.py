"""Readers of annotation tools, each on a small tree laid out as the tool exports it, and the mistakes people make."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from contracts.dataset_contract import DatasetContract
from hypothesis import given, settings
from hypothesis import strategies as st
from test_fuzz import EXAMPLES, broken, held

from edgeseg.data import identity, open_dataset
from edgeseg.errors import DatasetError, EdgesegError

HEIGHT, WIDTH = 12, 24
LEFT = [0, 0, 12, 0, 12, 12, 0, 12]
"""A polygon over the left half."""


def photo(path: Path, *, size: tuple[int, int] = (HEIGHT, WIDTH)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.random.default_rng(len(path.name)).integers(0, 255, (*size, 3), np.uint8))


def pairs(flat: list[float]) -> list[list[float]]:
    return [list(pair) for pair in zip(flat[::2], flat[1::2], strict=True)]


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def coco(names: list[str], **annotation: Any) -> dict[str, Any]:
    """Return COCO's tables: each image has a car over its left half and, smaller, a person in front of it."""
    images = [{"id": i, "file_name": name, "height": HEIGHT, "width": WIDTH} for i, name in enumerate(names, 7)]
    made = []
    for image in images:
        person = {"size": [HEIGHT, WIDTH], "counts": [HEIGHT, 4, HEIGHT * (WIDTH - 1) - 4]}  # four pixels of column 1
        made += [
            {"id": 2 * image["id"], "image_id": image["id"], "category_id": 1, "area": 4, "segmentation": person},
            {"id": 2 * image["id"] + 1, "image_id": image["id"], "category_id": 3, "area": 144, "iscrowd": 0,
             "segmentation": [LEFT], **annotation},
        ]  # fmt: skip
    return {
        "images": images,
        "annotations": made,
        "categories": [{"id": 1, "name": "person"}, {"id": 3, "name": "car"}],
    }


class TestCoco(DatasetContract):
    reader, classes = "coco", ("background", "person", "car")

    def write(self, root: Path) -> str:
        names = [f"{i:012d}.jpg" for i in range(3)]
        for name in names:
            photo(root / "train2017" / name)
        write_json(root / "annotations" / "instances_train2017.json", coco(names))
        return str(root)

    def test_what_lies_in_front_stays_visible(self, text: str) -> None:
        labels = open_dataset(text, split="train").load(0).labels
        assert labels[:4, 1].tolist() == [1, 1, 1, 1]
        assert labels[4:, 1].tolist() == [2] * 8
        assert (labels[:, :12] > 0).all()
        assert not labels[:, 12:].any()


class TestRoboflowCoco(DatasetContract):
    reader, classes = "coco", ("background", "person", "car")

    def write(self, root: Path) -> str:
        names = [f"{i}_jpg.rf.{i}abc.jpg" for i in range(3)]
        for split in ("train", "valid"):
            for name in names:
                photo(root / split / name)
            table = coco(names)
            table["categories"].insert(0, {"id": 0, "name": "objects", "supercategory": "none"})
            write_json(root / split / "_annotations.coco.json", table)
        return str(root)

    def test_its_valid_is_val(self, text: str) -> None:
        assert len(open_dataset(text, split="val")) == 3


class TestCocoPanoptic(DatasetContract):
    reader, classes = "coco-panoptic", ("person", "road")

    def write(self, root: Path) -> str:
        table: dict[str, Any] = {"images": [], "annotations": []}
        table["categories"] = [{"id": 1, "name": "person", "isthing": 1}, {"id": 100, "name": "road", "isthing": 0}]
        for number in range(3):
            name = f"{number:012d}"
            photo(root / "train2017" / f"{name}.jpg")
            segments = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
            segments[:, :8] = (1, 2, 3)  # BGR of segment 3 + 256 * 2 + 65536
            segments[:, 8:16] = (0, 0, 9)
            place = root / "annotations" / "panoptic_train2017" / f"{name}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(place), segments)
            table["images"].append({"id": number, "file_name": f"{name}.jpg", "height": HEIGHT, "width": WIDTH})
            table["annotations"].append(
                {"image_id": number, "file_name": f"{name}.png", "segments_info": [
                    {"id": 3 + 256 * 2 + 65536, "category_id": 1}, {"id": 9, "category_id": 100}]}
            )  # fmt: skip
        write_json(root / "annotations" / "panoptic_train2017.json", table)
        return str(root)

    def test_segments_are_classes_and_nothing_is_ignored(self, text: str) -> None:
        labels = open_dataset(text, split="train").load(0).labels
        assert [int(labels[0, column]) for column in (0, 8, 16)] == [0, 1, 255]


class TestLabelme(DatasetContract):
    reader, classes = "labelme", ("background", "car", "wheel")

    def write(self, root: Path) -> str:
        _, png = cv2.imencode(".png", np.full((3, 2), 1, np.uint8))
        for number in range(3):
            photo(root / "train" / f"{number}.jpg")
            shapes = [
                {"label": "car", "shape_type": "polygon", "points": pairs(LEFT)},
                {"label": "wheel", "shape_type": "circle", "points": [[6, 6], [8, 6]]},
                {"label": "wheel", "shape_type": "rectangle", "points": [[20, 10], [22, 11]]},
                {"label": "wheel", "shape_type": "mask", "points": [[14, 2], [15, 4]],
                 "mask": base64.b64encode(png.tobytes()).decode()},
            ]  # fmt: skip
            write_json(
                root / "train" / f"{number}.json",
                {"version": "5.4.1", "imagePath": f"..\\photos\\{number}.jpg", "imageData": None, "shapes": shapes,
                 "imageHeight": HEIGHT, "imageWidth": WIDTH},
            )  # fmt: skip
        return str(root)

    def test_every_kind_of_shape_is_drawn(self, text: str) -> None:
        labels = open_dataset(text, split="train").load(0).labels
        assert [int(labels[at]) for at in ((0, 0), (6, 6), (10, 20), (3, 15), (0, 23))] == [1, 2, 2, 2, 0]
        assert (labels[2:5, 14:16] == 2).all()


CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><task><labels>
<label><name>car</name></label><label><name>wheel</name></label></labels></task></meta>
{images}</annotations>"""
CVAT_IMAGE = """<image id="{n}" name="{n}.jpg" subset="Train" width="24" height="12">
<ellipse label="wheel" cx="6" cy="6" rx="3" ry="2" z_order="1"/>
<polygon label="car" points="0.0,0.0;12.0,0.0;12.0,12.0;0.0,12.0" z_order="0"/>
<box label="wheel" xtl="20" ytl="10" xbr="22" ybr="11" z_order="0"/>
<mask label="wheel" rle="1, 2, 1, 2" left="14" top="2" width="3" height="2" z_order="0"/></image>"""


class TestCvat(DatasetContract):
    reader, classes = "cvat", ("background", "car", "wheel")

    def write(self, root: Path) -> str:
        for number in range(3):
            photo(root / "images" / "Train" / f"{number}.jpg")
        images = "".join(CVAT_IMAGE.format(n=number) for number in range(3))
        (root / "annotations.xml").write_text(CVAT.format(images=images), encoding="utf-8")
        return str(root)

    def test_shapes_are_drawn_by_their_z_order(self, text: str) -> None:
        labels = open_dataset(text, split="train").load(0).labels
        assert [int(labels[at]) for at in ((0, 0), (6, 6), (10, 20), (2, 15), (2, 14), (0, 23))] == [1, 2, 2, 2, 0, 0]


class TestSupervisely(DatasetContract):
    reader, classes = "supervisely", ("background", "car", "wheel")

    def write(self, root: Path) -> str:
        titles = [{"title": "car", "shape": "polygon"}, {"title": "wheel", "shape": "bitmap"}]
        write_json(root / "meta.json", {"classes": titles, "tags": []})
        _, png = cv2.imencode(".png", np.dstack([np.full((2, 3, 3), 9, np.uint8), np.full((2, 3), 255, np.uint8)]))
        bitmap = base64.b64encode(zlib.compress(png.tobytes())).decode()
        for number in range(3):
            photo(root / "train" / "img" / f"{number}.jpg")
            objects = [
                {"classTitle": "car", "geometryType": "polygon",
                 "points": {"exterior": [[0, 0], [11, 0], [11, 11], [0, 11]], "interior": [[[2, 2], [8, 2], [8, 8]]]}},
                {"classTitle": "wheel", "geometryType": "bitmap", "bitmap": {"data": bitmap, "origin": [16, 4]}},
            ]  # fmt: skip
            write_json(
                root / "train" / "ann" / f"{number}.jpg.json",
                {"description": "", "tags": [], "size": {"height": HEIGHT, "width": WIDTH}, "objects": objects},
            )
        return str(root)

    def test_holes_and_bitmaps_are_drawn(self, text: str) -> None:
        labels = open_dataset(text, split="train").load(0).labels
        assert [int(labels[at]) for at in ((1, 1), (3, 7), (4, 16), (5, 18), (6, 16))] == [1, 0, 2, 2, 0]


class TestRoboflow(DatasetContract):
    reader, classes = "roboflow", ("background", "crack")

    def write(self, root: Path) -> str:
        for number in range(3):
            photo(root / "train" / f"{number}.jpg")
            mask = np.zeros((HEIGHT, WIDTH), np.uint8)
            mask[:, :5] = 1
            cv2.imwrite(str(root / "train" / f"{number}_mask.png"), mask)
        (root / "train" / "_classes.csv").write_text("Pixel Value, Class\n0, background\n1, crack\n", encoding="utf-8")
        return str(root)


class TestParquet(DatasetContract):
    reader, classes = "parquet", ("road", "sky")

    def write(self, root: Path) -> str:
        pyarrow = pytest.importorskip("pyarrow")
        parquet = pytest.importorskip("pyarrow.parquet")
        rows = []
        for number in range(3):
            photo(root / "i.jpg")
            mask = np.full((HEIGHT, WIDTH), 255, np.uint8)
            mask[:, number : number + 4], mask[:, 10:] = 0, 1
            _, png = cv2.imencode(".png", mask)
            content = (root / "i.jpg").read_bytes() + bytes(number)
            rows.append({"image": {"bytes": content, "path": None}, "label": {"bytes": png.tobytes(), "path": None}})
        (root / "data").mkdir()
        table = pyarrow.Table.from_pylist(rows)
        parquet.write_table(table, root / "data" / "train-00000-of-00001.parquet", row_group_size=2)
        write_json(root / "id2label.json", {"1": "sky", "0": "road"})
        return str(root)


def test_classes_take_labels_by_name_and_ignored_ones_do_not_count(tmp_path: Path) -> None:
    TestLabelme().write(tmp_path)
    (tmp_path / "dataset.toml").write_text(
        'schema = 1\nreader = "labelme"\n[data]\nignore = ["wheel"]\n[classes]\nbackground = []\nvehicle = "car"\n',
        encoding="utf-8",
    )
    data = open_dataset(str(tmp_path), split="train")
    labels = data.load(0).labels
    assert data.classes == ("background", "vehicle")
    assert [int(labels[at]) for at in ((0, 0), (6, 6), (0, 23))] == [1, 255, 0]
    without = (tmp_path / "dataset.toml").read_text().replace("background = []\n", "")
    (tmp_path / "dataset.toml").write_text(without, encoding="utf-8")
    assert open_dataset(str(tmp_path), split="train").load(0).labels[0, 23] == 255


def test_one_folder_is_divided_by_groups(tmp_path: Path) -> None:
    TestLabelme().write(tmp_path)
    (tmp_path / "dataset.toml").write_text(
        'schema = 1\nreader = "labelme"\nroot = "train"\n[splits]\ngroup = "(.)"\nval = ["2"]\n', encoding="utf-8"
    )
    assert [len(open_dataset(str(tmp_path), split=split)) for split in ("train", "val")] == [2, 1]


def test_another_annotation_is_another_data_set(tmp_path: Path) -> None:
    text = f"coco:{TestCoco().write(tmp_path)}"
    before = identity(open_dataset(text, split="train")).sha256
    path = tmp_path / "annotations" / "instances_train2017.json"
    path.write_text(path.read_text().replace('"area": 144', '"area": 145'), encoding="utf-8")
    assert identity(open_dataset(text, split="train")).sha256 != before


def spoil(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


@pytest.mark.parametrize(
    ("writer", "file", "old", "new", "says"),
    [
        (TestCoco, "annotations/instances_train2017.json", '"category_id": 3', '"category_id": 34',
         r"instances_train2017.json: 000000000000.jpg: label 'category 34' \(1 shape\)"),
        (TestCoco, "annotations/instances_train2017.json", '"height": 12', '"height": 24',
         r"label map is 24x24, its image 000000000000.jpg is 12x24"),
        (TestCoco, "annotations/instances_train2017.json", "000000000001.jpg", "000000000001_x.jpg",
         r"names the image '000000000001_x.jpg', which is not in .*train2017"),
        (TestCoco, "annotations/instances_train2017.json", "[[0, 0, 12, 0, 12", "[[0, 0, 12, 0, 12, 7",
         r"000000000000.jpg: a shape cannot be drawn: a polygon has 9 values"),
        (TestCoco, "annotations/instances_train2017.json", '"images"', '"pictures"', '"images" is missing or not list'),
        (TestRoboflowCoco, "train/_annotations.coco.json", "{", "[", "not valid JSON"),
        (TestCocoPanoptic, "annotations/panoptic_train2017.json", '"id": 9', '"id": 10',
         r"000000000000.png: segment 9 \(96 pixels\), which panoptic_train2017.json does not list"),
        (TestLabelme, "train/1.json", '"polygon"', '"linestrip"', r'1.json: 1.jpg: .*"linestrip" has no area'),
        (TestLabelme, "train/1.json", '"imageWidth": 24', '"imageWidth": 23', "label map is 12x23, its image 1.jpg"),
        (TestLabelme, "train/1.json", "1.jpg", "1_leftImg8bit.jpg", "names the image '1_leftImg8bit.jpg'"),
        (TestCvat, "annotations.xml", "<annotations>", "<!DOCTYPE a [<!ENTITY b 'c'>]><annotations>", "document type"),
        (TestCvat, "annotations.xml", "0.0,0.0;", "0.0,0.0,1;", "a shape cannot be drawn"),
        (TestCvat, "annotations.xml", 'label="car"', 'label="cart"', r"0.jpg: label 'cart' \(1 shape\)"),
        (TestSupervisely, "train/ann/0.jpg.json", '"classTitle": "car"', '"classTitle": "bus"', "label 'bus'"),
        (TestSupervisely, "train/ann/0.jpg.json", '"origin"', '"place"', "a shape cannot be drawn: 'origin'"),
        (TestRoboflow, "train/_classes.csv", "1, crack", "0, crack", "line 3 is not a new pixel value"),
        (TestRoboflow, "train/_classes.csv", "1, crack", "2, crack", r"0_mask.png: id 1 \(60 pixels\)"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line_that_names_file_and_value(  # noqa: PLR0917 - a table of mistakes
    writer: type[DatasetContract], file: str, old: str, new: str, says: str, tmp_path: Path
) -> None:
    text = f"{writer.reader}:{writer().write(tmp_path)}"
    spoil(tmp_path / file, old, new)
    with pytest.raises(EdgesegError, match=says) as caught:
        load_all(text)
    assert len(str(caught.value).splitlines()) == 1


def load_all(text: str) -> int:
    data = open_dataset(text, split="train")
    return sum(data.load(index).labels.size > 0 for index in range(len(data)))


@pytest.mark.parametrize(
    ("writer", "file", "old", "new"),
    [
        (TestCvat, "annotations.xml", 'name="1.jpg"', 'name="../../1.jpg"'),
        (TestCoco, "annotations/instances_train2017.json", '"file_name": "0', '"file_name": "/secret/0'),
    ],
)
def test_names_of_another_machine_never_lead_out_of_the_folder(
    writer: type[DatasetContract], file: str, old: str, new: str, tmp_path: Path
) -> None:
    root = tmp_path / "a" / "b"
    text = f"{writer.reader}:{writer().write(root)}"
    photo(tmp_path / "a" / "1.jpg", size=(3, 3))
    spoil(root / file, old, new)
    assert load_all(text) == 3


@pytest.mark.parametrize(
    ("writer", "folder"),
    [(TestCoco, "train2017"), (TestCocoPanoptic, "train2017"), (TestLabelme, "train"), (TestCvat, "images/Train"),
     (TestSupervisely, "train/img")],
)  # fmt: skip
def test_images_may_be_links(writer: type[DatasetContract], folder: str, tmp_path: Path) -> None:
    text = f"{writer.reader}:{writer().write(tmp_path / 'data')}"
    (tmp_path / "disk").mkdir()
    for path in list((tmp_path / "data" / folder).glob("*.jpg")):
        path.rename(tmp_path / "disk" / path.name)
        path.symlink_to(tmp_path / "disk" / path.name)
    assert load_all(text) == 3


@pytest.mark.parametrize("writer", [TestLabelme, TestSupervisely])
def test_a_linked_folder_is_read_like_any_other(writer: type[DatasetContract], tmp_path: Path) -> None:
    text = f"{writer.reader}:{writer().write(tmp_path / 'data')}"
    writer().write(tmp_path / "disk")
    (tmp_path / "data" / "train" / "more").symlink_to(tmp_path / "disk" / "train")
    assert load_all(text) == 6


def test_boxes_and_ellipses_of_cvat_are_turned(tmp_path: Path) -> None:
    """A box of 8x2 at 90 degrees stands upright; at 45 degrees, clockwise, its right end lies below its left one."""
    photo(tmp_path / "images" / "0.jpg", size=(20, 20))
    shape = '<image id="0" name="0.jpg" width="20" height="20">{}</image>'
    box = shape.format('<box label="car" xtl="6" ytl="9" xbr="14" ybr="11" rotation="{}"/>')
    ellipse = shape.format('<ellipse label="wheel" cx="10" cy="10" rx="4" ry="1" rotation="{}"/>')

    def drawn(image: str) -> np.ndarray:
        (tmp_path / "annotations.xml").write_text(CVAT.format(images=image), encoding="utf-8")
        (tmp_path / "dataset.toml").write_text('schema = 1\nreader = "cvat"\n[splits]\nval = 0.5\n', encoding="utf-8")
        return open_dataset(str(tmp_path), split="val").load(0).labels > 0

    upright = drawn(box.format("90.00"))
    assert upright[6:14, 9:11].all()
    assert upright.sum() == 16
    assert np.array_equal(drawn(ellipse.format("90")), drawn(ellipse.format("0")).T)
    sloping = drawn(box.format("45"))
    assert sloping[12, 12]
    assert sloping[7, 7]
    assert not sloping[12, 7]


@pytest.mark.parametrize("area", [None, 0])
def test_instances_without_an_area_are_drawn_by_that_of_their_outlines(area: int | None, tmp_path: Path) -> None:
    text = f"coco:{TestCoco().write(tmp_path)}"
    path = tmp_path / "annotations" / "instances_train2017.json"
    table = json.loads(path.read_text(encoding="utf-8"))
    for item in table["annotations"]:
        item["area"] = area
    write_json(path, table)
    assert open_dataset(text, split="train").load(0).labels[:4, 1].tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize(
    ("writer", "key", "change", "says"),
    [
        (TestCoco, "annotations", {"segmentation": []}, "a shape cannot be drawn: an annotation has no segmentation"),
        (TestCoco, "images", {"file_name": "000000000000.jpg"}, r"lists the image .*000000000000\.jpg twice"),
        (TestCoco, "images", {"id": 7}, "2 images have the id 7"),
        (TestCoco, "categories", {"id": 1}, "two categories have the id 1"),
        (TestCocoPanoptic, "images", {"id": 0}, "2 images have the id 0"),
        (TestCocoPanoptic, "annotations", {"image_id": 0}, 'two samples are called "000000000000"'),
    ],
)
def test_what_would_lose_shapes_is_refused(
    writer: type[DatasetContract], key: str, change: dict[str, Any], says: str, tmp_path: Path
) -> None:
    text = f"{writer.reader}:{writer().write(tmp_path)}"
    (path,) = (tmp_path / "annotations").glob("*.json")
    table = json.loads(path.read_text(encoding="utf-8"))
    table[key][1].update(change)
    write_json(path, table)
    with pytest.raises(DatasetError, match=says):
        load_all(text)


def test_samples_of_one_name_are_refused_as_their_results_would_replace_each_other(tmp_path: Path) -> None:
    text = f"coco:{TestCoco().write(tmp_path)}"
    photo(tmp_path / "train2017" / "000000000000.png")
    spoil(tmp_path / "annotations" / "instances_train2017.json", "000000000001.jpg", "000000000000.png")
    with pytest.raises(DatasetError, match=r'"000000000000" \(.*000000000000\.jpg and .*000000000000\.png\)\. Rename'):
        open_dataset(text, split="train")


def test_one_name_in_two_subsets_of_cvat_is_two_samples(tmp_path: Path) -> None:
    TestCvat().write(tmp_path)
    photo(tmp_path / "images" / "Validation" / "0.jpg")
    path = tmp_path / "annotations.xml"
    more = CVAT_IMAGE.format(n=0).replace('subset="Train"', 'subset="Validation"')
    path.write_text(path.read_text(encoding="utf-8").replace("</annotations>", f"{more}</annotations>"), "utf-8")
    (tmp_path / "dataset.toml").write_text(
        'schema = 1\nreader = "cvat"\n[splits]\nval = ["Validation/0"]\n', encoding="utf-8"
    )
    data = open_dataset(str(tmp_path), split="train")
    assert [data.item_id(index) for index in range(len(data))] == ["Train/0", "1", "2"]


def test_two_annotations_of_one_image_are_refused(tmp_path: Path) -> None:
    text = f"cvat:{TestCvat().write(tmp_path)}"
    spoil(tmp_path / "annotations.xml", 'name="1.jpg"', 'name="other/0.jpg"')
    with pytest.raises(DatasetError, match=r"0 and other/0 both lead to .*0\.jpg"):
        open_dataset(text, split="train")


def test_a_class_that_no_shape_has_is_refused_with_the_nearest(tmp_path: Path) -> None:
    TestCoco().write(tmp_path)
    (tmp_path / "dataset.toml").write_text(
        'schema = 1\nreader = "coco"\n[classes]\nvehicle = "cars"\n', encoding="utf-8"
    )
    with pytest.raises(EdgesegError, match='Did you mean "car"'):
        open_dataset(str(tmp_path), split="train")
    (tmp_path / "dataset.toml").write_text('schema = 1\nreader = "coco"\n[classes]\nvehicle = 3\n', encoding="utf-8")
    with pytest.raises(DatasetError, match="vehicle = 3: this data set's annotations hold names"):
        open_dataset(str(tmp_path), split="train")


FUZZED = [
    (TestCoco, "annotations/instances_train2017.json"),
    (TestCocoPanoptic, "annotations/panoptic_train2017.json"),
    (TestLabelme, "train/1.json"),
    (TestSupervisely, "meta.json"),
    (TestSupervisely, "train/ann/0.jpg.json"),
]


@pytest.mark.parametrize(("writer", "file"), FUZZED, ids=lambda item: getattr(item, "reader", item))
def test_annotations_with_changed_values_are_read_or_refused_in_a_line(
    writer: type[DatasetContract], file: str, tmp_path: Path
) -> None:
    text = f"{writer.reader}:{writer().write(tmp_path)}"
    path = tmp_path / file
    table = json.loads(path.read_text(encoding="utf-8"))

    @settings(EXAMPLES, max_examples=25)
    @given(broken(table))
    def hold(changed: Any) -> None:
        path.write_text(json.dumps(changed), encoding="utf-8")
        held(lambda: load_all(text))

    hold()


@settings(EXAMPLES, max_examples=25)
@given(cut=st.integers(0, 900), by=st.sampled_from(["", "<", "&", "\0", "999999999", "-1", "nan", "<a>", "é"]))
def test_xml_with_changed_bytes_is_read_or_refused_in_a_line(cut: int, by: str, cvat_text: str) -> None:
    path = Path(cvat_text.partition(":")[2]) / "annotations.xml"
    whole = CVAT.format(images="".join(CVAT_IMAGE.format(n=number) for number in range(3)))
    path.write_text(whole[:cut] + by + whole[cut + 2 :], encoding="utf-8")
    held(lambda: load_all(cvat_text))


@pytest.fixture(scope="module")
def cvat_text(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"cvat:{TestCvat().write(tmp_path_factory.mktemp('cvat'))}"
