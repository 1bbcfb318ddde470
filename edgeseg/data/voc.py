"""Pascal VOC: JPEGImages, SegmentationClass with palette PNGs, and the split's list in ImageSets/Segmentation.

Everingham et al., The Pascal Visual Object Classes Challenge (IJCV 2010): 20 classes and background; 255 is the border.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.data.folder import FolderDataset
from edgeseg.data.label_maps import LabelMapping
from edgeseg.data.licence import read_licence
from edgeseg.data.paths import refuse
from edgeseg.errors import DatasetError

if TYPE_CHECKING:
    from edgeseg.data.description import Description

VOC_CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


class VocReader:
    """Opens a folder such as VOCdevkit/VOC2012; splits are its lists, such as train, val and trainval."""

    summary = "Pascal VOC: JPEGImages, SegmentationClass and ImageSets/Segmentation/SPLIT.txt"

    def open(self, place: str, /, *, split: str, description: Description) -> FolderDataset:
        """Return the listed pairs; raises `DatasetError` with every listed name without image or label map."""
        root = Path(place or description.root)
        lists = root / "ImageSets" / "Segmentation"
        if not (lists / f"{split}.txt").is_file():
            there = ", ".join(sorted(path.stem for path in lists.glob("*.txt"))) or "none"
            raise DatasetError(f'{lists}: no list "{split}.txt". Lists there: {there}. Give the folder of VOC2012.')
        names = _names(lists / f"{split}.txt")
        images = [root / "JPEGImages" / f"{name}.jpg" for name in names]
        labels = [root / "SegmentationClass" / f"{name}.png" for name in names]
        missing = [
            f"{path}: no such file, but {lists / split}.txt lists it."
            for path in (*images, *labels)
            if not path.is_file()
        ]
        refuse(missing)
        if not names:
            raise DatasetError(f"{lists / split}.txt: lists no image.")
        mapping = description.mapping() or LabelMapping.indices(VOC_CLASSES)
        return FolderDataset(
            root=root,
            split=split,
            licence=read_licence(root),
            images=tuple(images),
            labels=tuple(labels),
            mapping=mapping,
            decoding=description.data.decoding(),
        )


def _names(path: Path) -> list[str]:
    """Return the first word of each line; raises `DatasetError` for a file that is not text, or a name twice."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: cannot be read as a list of names ({error}). Save it as UTF-8.") from None
    names = [line.split()[0] for line in lines if line.strip()]
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise DatasetError(f'{path}: lists "{twice}" more than once. Each image counts once: remove the other lines.')
    return names


READER = VocReader()
