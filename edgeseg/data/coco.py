"""COCO: polygons and run lengths of instances, or of stuff, in one JSON file a split (Lin et al., ECCV 2014).

Found are the layouts of COCO itself (annotations/instances_train2017.json, train2017/), of CVAT's and Label Studio's
exports (annotations/instances_default.json, images/), and of Roboflow's (train/_annotations.coco.json). Instances are
drawn from the largest to the smallest, so that what lies in front of something larger stays visible.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from functools import partial
from typing import TYPE_CHECKING, Any

from edgeseg.data.annotation_files import (
    field_of,
    find_image,
    folder_of,
    read_annotations,
    sample_name,
    split_names,
)
from edgeseg.data.label_names import map_names
from edgeseg.data.licence import read_licence
from edgeseg.data.shape_dataset import Annotated, ShapeDataset
from edgeseg.data.shapes import ColumnRuns, Polygon, Shape, polygon_points, ring_area
from edgeseg.errors import DatasetError

if TYPE_CHECKING:
    from pathlib import Path

    from edgeseg.data.description import Description

KINDS = ("instances", "stuff")
ROBOFLOW = "_annotations.coco.json"


class CocoReader:
    """Opens a folder of COCO annotations and images."""

    summary = "COCO: annotations/instances_SPLIT*.json (or stuff_), images; also Roboflow's and CVAT's COCO export"

    def open(self, place: str, /, *, split: str, description: Description) -> ShapeDataset:
        """Return the images of a split with their shapes; raises `DatasetError` if a file or a field is missing."""
        root = folder_of(place or description.root)
        path = annotation_file(root, split, kinds=KINDS)
        table = read_annotations(path)
        categories = read_categories(table, path=path)
        covers = path.name.startswith("stuff")
        shapes: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for item in field_of(table, "annotations", list, where=str(path)):
            shapes[field_of(item, "image_id", int, where=str(path))].append(item)
        images = field_of(table, "images", list, where=str(path))
        if not images:
            raise DatasetError(f"{path}: lists no image.")
        check_image_ids(images, path=path)
        return ShapeDataset(
            root=root,
            split=split,
            licence=read_licence(root),
            mapping=map_names(description, used(categories, shapes, path=path), covers=covers, name=root.name),
            samples=tuple(
                _sample(item, shapes=shapes, path=path, root=root, split=split, categories=categories)
                for item in images
            ),
            shared=path,
            decoding=description.data.decoding(),
        )


def check_image_ids(images: list[Any], *, path: Path) -> None:
    """Raise `DatasetError` if two images have the same id, as annotations would then belong to both."""
    counts = Counter(field_of(item, "id", int, where=str(path)) for item in images)
    number, count = counts.most_common(1)[0] if counts else (0, 0)
    if count > 1:
        raise DatasetError(
            f"{path}: {count} images have the id {number}, so their annotations cannot be told apart. Give each image "
            "an id of its own, as merged files need."
        )


def annotation_file(root: Path, split: str, *, kinds: tuple[str, ...]) -> Path:
    """Return the annotation file of a split; raises `DatasetError` if there is none, listing those that are there."""
    names = split_names(split) if split else ("default", "")
    folder = root / "annotations"
    for name in names:
        if (root / name / ROBOFLOW).is_file() and "instances" in kinds:
            return root / name / ROBOFLOW
        for kind in kinds:
            found = sorted(folder.glob(f"{kind}_{name}*.json")) if name else sorted(folder.glob(f"{kind}*.json"))
            if len(found) > 1:
                raise DatasetError(f"{folder}: {found[0].name} and {found[1].name} both fit. Leave one there.")
            if found:
                return found[0]
    there = sorted(path.name for path in (*folder.glob("*.json"), *root.glob(f"*/{ROBOFLOW}")))
    raise DatasetError(
        f'{root}: has no annotations of the split "{split}": no annotations/{kinds[0]}_{names[0]}*.json. '
        f"Found: {', '.join(there) or 'none'}."
    )


def read_categories(table: object, *, path: Path) -> dict[int, str]:
    """Return the categories' names by id; names that occur twice get their id."""
    found: dict[int, str] = {}
    for item in field_of(table, "categories", list, where=str(path)):
        name = field_of(item, "name", str, where=str(path))
        number = field_of(item, "id", int, where=str(path))
        if number in found:
            raise DatasetError(f"{path}: two categories have the id {number}. Give each an id of its own.")
        found[number] = name if name not in found.values() else f"{name} ({number})"
    return dict(sorted(found.items()))


def used(categories: dict[int, str], shapes: dict[int, list[dict[str, Any]]], *, path: Path) -> tuple[str, ...]:
    """Return the categories' names; Roboflow's first, a heading of the others that no shape has, is left out."""
    if path.name != ROBOFLOW:
        return tuple(categories.values())
    drawn = {item.get("category_id") for items in shapes.values() for item in items}
    return tuple(name for number, name in categories.items() if number in drawn or number != min(categories))


def image_places(root: Path, split: str, *, annotations: Path) -> tuple[Path, ...]:
    """Return the folders in which a split's images may lie."""
    if annotations.name == ROBOFLOW:
        return (annotations.parent,)
    year = annotations.stem.partition("_")[2]
    names = (year, *split_names(split), f"images/{year}", *(f"images/{name}" for name in split_names(split)), "images")
    return (*(root / name for name in names if name and (root / name).is_dir()), root)


def _sample(
    item: object,
    *,
    shapes: dict[int, list[dict[str, Any]]],
    path: Path,
    root: Path,
    split: str,
    categories: dict[int, str],
) -> Annotated:
    name = field_of(item, "file_name", str, where=str(path))
    number = field_of(item, "id", int, where=str(path))
    size = (field_of(item, "height", int, where=str(path)), field_of(item, "width", int, where=str(path)))
    image = find_image(name, places=image_places(root, split, annotations=path), where=str(path))
    return Annotated(
        id=sample_name(name),
        image=image,
        annotations=path,
        shapes=partial(_shapes, shapes.get(number, []), categories),
        size=size,
    )


def _shapes(items: list[dict[str, Any]], categories: dict[int, str]) -> list[Shape]:
    found = []
    for item in items:
        area = _area(item.get("segmentation"))
        label = categories.get(item["category_id"], f"category {item['category_id']}")
        # Some tools write no area, or 0.
        found.append((float(item.get("area") or _pixels(area)), Shape(label=label, area=area)))
    return [shape for _, shape in sorted(found, key=lambda pair: -pair[0])]


def _pixels(area: Polygon | ColumnRuns) -> float:
    """Return how many pixels an instance has, about."""
    if isinstance(area, Polygon):
        return sum(ring_area(ring) for ring in area.rings)
    return float(sum(area.runs()[1::2]))


def _area(segmentation: Any) -> Polygon | ColumnRuns:
    if not segmentation:
        raise ValueError("an annotation has no segmentation, as those of detection, which are boxes")
    if isinstance(segmentation, dict):
        height, width = segmentation["size"]
        return ColumnRuns(segmentation["counts"], (int(height), int(width)))
    # One instance may lie in several pieces, which do not overlap.
    return Polygon(tuple(polygon_points(ring) for ring in segmentation))


READER = CocoReader()
