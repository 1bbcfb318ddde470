"""Roboflow's "Semantic Segmentation Masks": X.jpg and X_mask.png in train, valid and test, with _classes.csv."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

from edgeseg.data.annotation_files import first_folder, folder_of, split_names
from edgeseg.data.folder import FolderDataset
from edgeseg.data.label_maps import LabelMapping
from edgeseg.data.licence import read_licence
from edgeseg.data.paths import IMAGE_SUFFIXES, refuse
from edgeseg.errors import DatasetError

if TYPE_CHECKING:
    from pathlib import Path

    from edgeseg.data.description import Description

CLASSES_TABLE, MASK = "_classes.csv", "_mask.png"


class RoboflowReader:
    """Opens a folder that Roboflow exported with masks; its COCO export is the reader `coco`'s."""

    summary = f"Roboflow's semantic masks: SPLIT/X.jpg, SPLIT/X{MASK} and SPLIT/{CLASSES_TABLE}"

    def open(self, place: str, /, *, split: str, description: Description) -> FolderDataset:
        """Return the pairs of a split; raises `DatasetError` with every image that has no mask."""
        root = folder_of(place or description.root)
        folder = first_folder(
            root, split, split_names(split), holds=lambda path: (path / CLASSES_TABLE).is_file(), what=CLASSES_TABLE
        )
        mapping = description.mapping() or read_class_table(folder / CLASSES_TABLE)
        images, labels, problems = [], [], []
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() not in IMAGE_SUFFIXES or path.name.endswith(MASK) or path.name.startswith("."):
                continue
            images.append(path)
            labels.append(path.with_name(path.stem + MASK))
            if not labels[-1].is_file():
                problems.append(f"{path}: has no {labels[-1].name} beside it. Add it, or remove the image.")
        refuse(problems)
        if not images:
            raise DatasetError(f"{folder}: no images in it.")
        return FolderDataset(
            root=root,
            split=split,
            licence=read_licence(root),
            images=tuple(images),
            labels=tuple(labels),
            mapping=mapping,
            decoding=description.data.decoding(),
        )


def read_class_table(path: Path) -> LabelMapping:
    """Return the mapping in Roboflow's _classes.csv: "Pixel Value, Class"; raises `DatasetError` for a faulty line."""
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(path.read_text(encoding="utf-8-sig").splitlines())]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path}: cannot be read as a table ({error}).") from None
    classes: dict[str, int] = {}
    for number, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        if len(row) < 2 or not row[0].isdecimal() or not row[1] or row[1] in classes or int(row[0]) in classes.values():
            raise DatasetError(f"{path}: line {number} is not a new pixel value and a new class, such as 1, road.")
        classes[row[1]] = int(row[0])
    if not classes or len(classes) > 255:
        raise DatasetError(f"{path}: has {len(classes)} classes; 1 to 255 are possible.")
    ids = {255: 255} | {value: index for index, value in enumerate(classes.values())}
    return LabelMapping(classes=tuple(classes), ids=ids, source=CLASSES_TABLE)


READER = RoboflowReader()
