"""LabelMe: a JSON file beside each image, with polygons, rectangles, circles and masks (github.com/wkentaro/labelme).

Splits are folders (train, val, test); a single folder is divided by `[splits]` in dataset.toml.
"""

from __future__ import annotations

import base64
import binascii
from functools import partial
from pathlib import Path
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
from edgeseg.data.shapes import Area, Bitmap, Polygon, Shape, box, ellipse
from edgeseg.errors import DatasetError

if TYPE_CHECKING:
    from edgeseg.data.description import Description


_ANNOTATIONS = "**/*.json"


class LabelmeReader:
    """Opens a folder of images and LabelMe's JSON files; shapes are drawn in the order of their file."""

    summary = "LabelMe: a JSON file beside each image, in folders train and val, or in one folder with [splits]"

    def open(self, place: str, /, *, split: str, description: Description) -> ShapeDataset:
        """Return the annotated images of a split; raises `DatasetError` with every image that is not there."""
        root = folder_of(place or description.root)
        folder = first_folder(
            root, split, split_names(split), holds=lambda path: any(files_below(path, _ANNOTATIONS)), what="JSON files"
        )
        files = sorted(files_below(folder, _ANNOTATIONS))
        if not files:
            raise DatasetError(f"{folder}: no JSON file of LabelMe in it.")
        problems, samples, labels = [], [], set()
        for path in files:
            try:
                sample, found = _sample(path, root=folder)
            except DatasetError as error:
                problems.append(str(error))
            else:
                samples.append(sample)
                labels |= found
        refuse(problems)
        return ShapeDataset(
            root=root,
            split=split,
            licence=read_licence(root),
            mapping=map_names(description, () if description.classes else sorted(labels), name=root.name),
            samples=tuple(samples),
            decoding=description.data.decoding(),
        )


def _sample(path: Path, *, root: Path) -> tuple[Annotated, set[str]]:
    table = read_annotations(path)
    shapes = field_of(table, "shapes", list, where=str(path))
    name = Path(field_of(table, "imagePath", str, where=str(path)).replace("\\", "/")).name
    image = find_image(name, places=(path.parent,), where=str(path))
    size = (table.get("imageHeight"), table.get("imageWidth"))
    stated = all(isinstance(side, int) and not isinstance(side, bool) for side in size)
    return Annotated(
        id=path.relative_to(root).with_suffix("").as_posix(),
        image=image,
        annotations=path,
        shapes=partial(_shapes, path),
        size=size if stated else None,
    ), {field_of(item, "label", str, where=str(path)) for item in shapes}


def _shapes(path: Path) -> list[Shape]:
    return [
        Shape(label=field_of(item, "label", str, where=str(path)), area=_area(item))
        for item in field_of(read_annotations(path), "shapes", list, where=str(path))
    ]


def _area(item: dict[str, Any]) -> Area:
    kind = item.get("shape_type") or "polygon"
    points = [(float(x), float(y)) for x, y in item["points"]]
    if kind == "polygon":
        return Polygon((tuple(points),))
    if kind in ("rectangle", "circle", "mask") and len(points) != 2:
        raise ValueError(f"a {kind} has {len(points)} points; 2 are needed")
    if kind == "rectangle":
        return box(*points[0], *points[1])
    if kind == "circle":
        (cx, cy), (x, y) = points
        radius = ((x - cx) ** 2 + (y - cy) ** 2) ** 0.5
        return ellipse(cx, cy, radius, radius)
    if kind == "mask":
        return Bitmap(_png(item["mask"]), top=round(points[0][1]), left=round(points[0][0]))
    raise ValueError(f'"{kind}" has no area (polygon, rectangle, circle and mask have)')


def _png(text: str) -> Any:
    try:
        return mask_of_png(base64.b64decode(text, validate=True))
    except binascii.Error as error:
        raise ValueError(f"a mask is not base64: {error}") from None


READER = LabelmeReader()
