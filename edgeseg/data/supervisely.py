"""Supervisely: meta.json with the classes, and a folder a data set with img/X.jpg and ann/X.jpg.json.

Data sets named train, val and test are the splits; else all of them are divided by `[splits]` in dataset.toml.
(Supervisely's documentation, "Supervisely annotation format".)
"""

from __future__ import annotations

import base64
import binascii
import zlib
from functools import partial
from typing import TYPE_CHECKING, Any

from edgeseg.data.annotation_files import (
    field_of,
    find_image,
    first_folder,
    folder_of,
    read_annotations,
    split_names,
)
from edgeseg.data.label_maps import mask_of_png
from edgeseg.data.label_names import map_names
from edgeseg.data.licence import read_licence
from edgeseg.data.paths import refuse
from edgeseg.data.patterns import files_below
from edgeseg.data.shape_dataset import Annotated, ShapeDataset
from edgeseg.data.shapes import Area, Bitmap, Polygon, Shape, box
from edgeseg.errors import DatasetError

if TYPE_CHECKING:
    from pathlib import Path

    from edgeseg.data.description import Description

META = "meta.json"
MOST_MASK_BYTES = 256 << 20


class SuperviselyReader:
    """Opens a Supervisely project; objects are drawn in the order of their file."""

    summary = f"Supervisely: {META}, and img and ann in folders train and val, or in any with [splits]"

    def open(self, place: str, /, *, split: str, description: Description) -> ShapeDataset:
        """Return the images of a split with their objects; raises `DatasetError` with every image that is missing."""
        root = folder_of(place or description.root)
        if not (root / META).is_file():
            raise DatasetError(f"{root}: has no {META}. Give the folder of a Supervisely project.")
        table = read_annotations(root / META)
        labels = [
            field_of(item, "title", str, where=str(root / META))
            for item in field_of(table, "classes", list, where=str(root / META))
        ]
        folder = first_folder(
            root, split, split_names(split), holds=lambda path: (path / "ann").is_dir(), what="ann and img"
        )
        problems, samples = [], []
        for path in sorted(files_below(folder, "**/ann/*.json")):
            try:
                samples.append(_sample(path, root=folder))
            except DatasetError as error:
                problems.append(str(error))
        refuse(problems)
        if not samples:
            raise DatasetError(f"{folder}: no ann/*.json in it.")
        return ShapeDataset(
            root=root,
            split=split,
            licence=read_licence(root),
            mapping=map_names(description, labels, name=root.name),
            samples=tuple(samples),
            decoding=description.data.decoding(),
        )


def _sample(path: Path, *, root: Path) -> Annotated:
    size = field_of(read_annotations(path), "size", dict, where=str(path))
    name = path.name.removesuffix(".json")
    place = path.parent.parent / "img"
    inside = place.parent.relative_to(root) / name
    return Annotated(
        id=inside.with_suffix("").as_posix(),
        image=find_image(name, places=(place,), where=str(path)),
        annotations=path,
        shapes=partial(_shapes, path),
        size=(field_of(size, "height", int, where=str(path)), field_of(size, "width", int, where=str(path))),
    )


def _shapes(path: Path) -> list[Shape]:
    return [
        Shape(label=field_of(item, "classTitle", str, where=str(path)), area=_area(item))
        for item in field_of(read_annotations(path), "objects", list, where=str(path))
    ]


def _area(item: dict[str, Any]) -> Area:
    kind = item["geometryType"]
    if kind == "bitmap":
        left, top = item["bitmap"]["origin"]
        return Bitmap(_pixels(item["bitmap"]["data"]), top=int(top), left=int(left))
    if kind in ("polygon", "rectangle"):
        rings = [item["points"]["exterior"], *item["points"].get("interior", [])]
        rings = [[(float(x), float(y)) for x, y in ring] for ring in rings]
        if kind == "rectangle":
            return box(*rings[0][0], *rings[0][1])
        # Supervisely's points are pixels; a polygon runs through their centres.
        return Polygon(tuple(tuple((x + 0.5, y + 0.5) for x, y in ring) for ring in rings))
    raise ValueError(f'"{kind}" has no area (polygon, rectangle and bitmap have)')


def _pixels(text: str) -> Any:
    try:
        packed = base64.b64decode(text, validate=True)
        unpacker = zlib.decompressobj()
        content = unpacker.decompress(packed, MOST_MASK_BYTES)
    except (binascii.Error, zlib.error) as error:
        raise ValueError(f"a bitmap cannot be unpacked: {error}") from None
    if unpacker.unconsumed_tail:
        raise ValueError("a bitmap unpacks to more than 256 MB")
    return mask_of_png(content)


READER = SuperviselyReader()
