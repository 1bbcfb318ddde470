"""CVAT: its own export "CVAT for images 1.1", one annotations.xml and a folder of images (docs.cvat.ai).

An image's `subset` is its split; without subsets the data set is divided by `[splits]` in dataset.toml. Shapes are
drawn by their `z_order`.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

from edgeseg.core.parsing import shown
from edgeseg.data.annotation_files import find_image, folder_of, read_xml, sample_name, split_names
from edgeseg.data.label_names import map_names
from edgeseg.data.licence import read_licence
from edgeseg.data.shape_dataset import Annotated, ShapeDataset
from edgeseg.data.shapes import Area, Bitmap, Polygon, Shape, box, ellipse, rotated, runs_to_pixels
from edgeseg.errors import DatasetError

if TYPE_CHECKING:
    from pathlib import Path
    from xml.etree.ElementTree import Element

    from edgeseg.data.description import Description

CVAT_FILE = "annotations.xml"
DRAWN = ("polygon", "box", "ellipse", "mask")
WITHOUT_AREA = ("polyline", "points", "cuboid", "skeleton")


class CvatReader:
    """Opens a folder of annotations.xml and images."""

    summary = f"CVAT for images 1.1: {CVAT_FILE} and images; the images' subsets are the splits"

    def open(self, place: str, /, *, split: str, description: Description) -> ShapeDataset:
        """Return the images of a split with their shapes; raises `DatasetError` if the file cannot be used."""
        root = folder_of(place or description.root)
        path = root / CVAT_FILE
        if not path.is_file():
            raise DatasetError(f'{root}: has no {CVAT_FILE}. Export the task from CVAT as "CVAT for images 1.1".')
        tree = read_xml(path)
        every = tree.findall("image")
        images = [image for image in every if not split or image.get("subset", "").lower() in split_names(split)]
        if not images:
            there = sorted({image.get("subset", "") for image in every} - {""})
            raise DatasetError(
                f'{path}: no image belongs to the split "{split}". Subsets there: {", ".join(there) or "none"}. Give '
                "the images subsets in CVAT, or [splits] in dataset.toml."
            )
        names = Counter(sample_name(image.get("name", "")) for image in images)
        stated = [label.text or "" for label in tree.findall("meta//labels/label/name")]
        drawn = sorted({shape.get("label", "") for image in every for shape in image if shape.tag in DRAWN})
        return ShapeDataset(
            root=root,
            split=split,
            licence=read_licence(root),
            mapping=map_names(description, stated or drawn, name=root.name),
            samples=tuple(_sample(image, path=path, root=root, names=names) for image in images),
            shared=path,
            decoding=description.data.decoding(),
        )


def _sample(image: Element, *, path: Path, root: Path, names: Counter[str]) -> Annotated:
    """Return an image with its shapes; where several have its name, the sample's begins with the subset."""
    name, subset = image.get("name", ""), image.get("subset", "")
    alone = names[sample_name(name)] == 1
    places = (root / "images" / subset, root / "images", root)
    try:
        size = (int(image.get("height", "")), int(image.get("width", "")))
    except ValueError:
        raise DatasetError(f"{path}: image {shown(name)} has no width and height. Export it again.") from None
    return Annotated(
        id=sample_name(name) if alone or not subset else f"{subset}/{sample_name(name)}",
        image=find_image(name, places=[place for place in places if place.is_dir()], where=str(path)),
        annotations=path,
        shapes=partial(_shapes, image),
        size=size,
    )


def _shapes(image: Element) -> list[Shape]:
    found = [shape for shape in image if shape.tag in (*DRAWN, *WITHOUT_AREA)]
    ordered = sorted(found, key=lambda shape: int(shape.get("z_order", "0")))
    return [Shape(label=shape.get("label", ""), area=_area(shape)) for shape in ordered]


def _area(shape: Element) -> Area:
    if shape.tag == "polygon":
        pairs = (pair.split(",") for pair in shape.attrib["points"].split(";"))
        return Polygon((tuple((float(x), float(y)) for x, y in pairs),))
    degrees = float(shape.get("rotation", "0"))  # only boxes and ellipses have one, around their centre
    if shape.tag == "box":
        left, top, right, bottom = (float(shape.attrib[key]) for key in ("xtl", "ytl", "xbr", "ybr"))
        upright = box(left, top, right, bottom)
        return rotated(upright, centre=((left + right) / 2, (top + bottom) / 2), degrees=degrees)
    if shape.tag == "ellipse":
        cx, cy, rx, ry = (float(shape.attrib[key]) for key in ("cx", "cy", "rx", "ry"))
        return rotated(ellipse(cx, cy, rx, ry), centre=(cx, cy), degrees=degrees)
    if shape.tag == "mask":
        top, left, height, width = (int(shape.attrib[key]) for key in ("top", "left", "height", "width"))
        counts = [int(count) for count in shape.attrib["rle"].split(",")]
        return Bitmap(runs_to_pixels(counts, size=(height, width)), top=top, left=left)
    raise ValueError(f'"{shape.tag}" has no area ({", ".join(DRAWN)} have)')


READER = CvatReader()
