"""Pairs of images and label maps by two patterns below one folder: Cityscapes, KITTI, your own exports.

In a pattern `*` matches a part of a file name, `?` one character, `[abc]` one of these, and `**/` folders of any depth.
An image and a label map form a pair if their wildcards match the same text: `a_leftImg8bit.png` and
`a_gtFine_labelIds.png`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.data.folder import FolderDataset, read_classes
from edgeseg.data.label_maps import LabelMapping
from edgeseg.data.licence import read_licence
from edgeseg.data.paths import IMAGE_SUFFIXES, refuse
from edgeseg.data.patterns import files_below, is_wild, pattern_rule, plain_pattern
from edgeseg.errors import DatasetError, InputError

if TYPE_CHECKING:
    from edgeseg.data.description import Description

LOSSLESS = (".png", ".bmp", ".tif", ".tiff", ".ppm", ".pgm")
SPLIT = "{split}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PairsReader:
    """Opens pairs by the patterns `[data] images` and `labels`, or by the built-in patterns of a known layout."""

    summary: str
    images: str = ""
    labels: str = ""
    classes: tuple[tuple[str, int], ...] = ()
    """Names and ids of a known layout."""
    void: tuple[int, ...] = ()
    """Ids that a known layout gives to what is no class: ignored. Any other id is an error that names the file."""
    first_id: int = 0
    """The id of the first class of classes.txt; with 1, id 0 is ignored (mmsegmentation's reduce_zero_label)."""
    split_names: tuple[tuple[str, str], ...] = ()
    """The layout's own names of train, val and test, if they differ."""

    def open(self, place: str, /, *, split: str, description: Description) -> FolderDataset:
        """Return the pairs below `place`; raises `DatasetError` with every file that has no partner."""
        root = Path(place or description.root)
        if not root.is_dir():
            raise DatasetError(f"{root}: no such folder. Give the folder that holds the images and label maps.")
        given = description.mapping()
        patterns = [description.data.images or self.images, description.data.labels or self.labels]
        for name, pattern in zip(("images", "labels"), patterns, strict=True):
            if not is_wild(pattern):
                raise InputError(f'[data] {name} = "{pattern}": give a pattern with *, such as "{name}/{SPLIT}/*.png".')
            if split and SPLIT not in pattern:
                raise InputError(
                    f'[data] {name} = "{pattern}": does not say where the split is. Write {SPLIT} in it, or give '
                    "[splits] in dataset.toml."
                )
            if not split and SPLIT in pattern:
                raise InputError(
                    f'[data] {name} = "{pattern}": its {SPLIT} already says where each split is. Remove [splits] from '
                    f"dataset.toml, or give a pattern without {SPLIT}."
                )
        folder = dict(self.split_names).get(split, split)
        images, labels = (_found(root, pattern.replace(SPLIT, folder)) for pattern in patterns)
        _check(root, patterns=patterns, split=folder, images=images, labels=labels)
        mapping = given or self._mapping(root)
        return FolderDataset(
            root=root,
            split=split,
            licence=read_licence(root),
            images=tuple(images.values()),
            labels=tuple(labels[key] for key in images),
            mapping=mapping,
            decoding=description.data.decoding(),
            ids=tuple(images),
        )

    def _mapping(self, root: Path) -> LabelMapping:
        if not self.classes:
            names = read_classes(root / "classes.txt")
            if not self.first_id:
                return LabelMapping.indices(names)
            shifted = {0: 255} | {index + self.first_id: index for index in range(len(names))}
            return LabelMapping(classes=names, ids=shifted, source="classes.txt")
        ids = dict.fromkeys(self.void, 255)
        ids |= {value: index for index, (_, value) in enumerate(self.classes)}
        return LabelMapping(
            classes=tuple(name for name, _ in self.classes), ids=ids, source=self.summary.partition(":")[0]
        )


def _found(root: Path, pattern: str) -> dict[str, Path]:
    """Return the files that a pattern matches, keyed and sorted by the text that its wildcards match."""
    wild = pattern_rule(plain_pattern(pattern))
    found: dict[str, Path] = {}
    problems = []
    for path in sorted(files_below(root, pattern)):
        match = wild.fullmatch(path.relative_to(root).as_posix())
        if match is None:
            continue
        key = "/".join(part for part in match.groups() if part)
        if key in found:
            problems.append(f"{path}: has the same name as {found[key]} ({key}). Narrow the pattern {pattern}.")
        found[key] = path
    refuse(problems)
    return found


def _check(root: Path, *, patterns: list[str], split: str, images: dict[str, Path], labels: dict[str, Path]) -> None:
    """Raise `DatasetError` if nothing was found, partners are missing, or a file is of another type."""
    for pattern, found in zip(patterns, (images, labels), strict=True):
        if not found:
            raise DatasetError(f"{root}: no file matches {pattern.replace(SPLIT, split)}. Check the pattern.")
    problems = [
        f"{path}: no label map matches {patterns[1]} for {key}. Add it, or correct the patterns."
        for key, path in images.items()
        if key not in labels
    ]
    problems += [
        f"{path}: no image matches {patterns[0]} for {key}. Add it, or correct the patterns."
        for key, path in labels.items()
        if key not in images
    ]
    problems += [
        f"{path}: not an image file ({', '.join(IMAGE_SUFFIXES)})."
        for path in images.values()
        if path.suffix.lower() not in (*IMAGE_SUFFIXES, ".ppm")
    ]
    problems += [
        f"{path}: label map is {path.suffix}; lossy types change class indices. Give {', '.join(LOSSLESS)}."
        for path in labels.values()
        if path.suffix.lower() not in LOSSLESS
    ]
    refuse(problems)


READER = PairsReader(summary="pairs by the patterns [data] images and labels of a dataset.toml")

CITYSCAPES = PairsReader(
    summary="Cityscapes: leftImg8bit/SPLIT/CITY and gtFine/SPLIT/CITY, its 19 training classes",
    images="leftImg8bit/{split}/**/*_leftImg8bit.png",
    labels="gtFine/{split}/**/*_gtFine_labelIds.png",
    # Cordts et al., CVPR 2016: the benchmark's evaluation classes, by the ids of the published label maps.
    classes=(
        ("road", 7), ("sidewalk", 8), ("building", 11), ("wall", 12), ("fence", 13), ("pole", 17),
        ("traffic light", 19), ("traffic sign", 20), ("vegetation", 21), ("terrain", 22), ("sky", 23), ("person", 24),
        ("rider", 25), ("car", 26), ("truck", 27), ("bus", 28), ("train", 31), ("motorcycle", 32), ("bicycle", 33),
    ),
    void=(*range(7), 9, 10, 14, 15, 16, 18, 29, 30, 255),  # 255 is the licence plate's -1 in 8 bits
)  # fmt: skip

ADE20K = PairsReader(
    summary="ADE20K (SceneParse150): images/training, annotations/training, a classes.txt of 150; id 0 is ignored",
    images="images/{split}/*.jpg",
    labels="annotations/{split}/*.png",
    first_id=1,
    split_names=(("train", "training"), ("val", "validation")),
)
