"""What a data set holds: sizes, pixels of each class, unusable samples, and images that are in two splits."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np

from edgeseg.data.label_check import LabelCounts
from edgeseg.data.opening import open_dataset
from edgeseg.data.paths import SPLITS
from edgeseg.errors import DatasetError, EdgesegError, InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgeseg.core.progress import Progress
    from edgeseg.data.dataset import Dataset

CELLS = 16
LEAST_CELLS_SET = 24
"""Fewer differences between neighbours are a flat image, which looks like any other flat one."""
MOST_CELLS_APART = 12
"""Of 256: what saving again and resizing change. Two photos of one street differ in dozens."""


_ONES = np.array([value.bit_count() for value in range(256)], np.uint16)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassCount:
    """A class's share of the labelled pixels, and the number of images that it occurs in."""

    name: str
    share: float
    images: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitSurvey:
    """One split; `sizes` are HEIGHTxWIDTH with their number, `broken` has a line for each sample that is unusable.

    `unlearnable` says why the labels teach nothing, such as those of a single class; "" where they do.
    """

    split: str
    images: int
    sizes: dict[str, int]
    classes: tuple[ClassCount, ...]
    ignored: float
    missing: tuple[str, ...]
    broken: tuple[str, ...]
    unlearnable: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedImage:
    """An image that is in two splits: with the same pixels, or nearly the same."""

    first: str
    second: str
    how: Literal["same", "nearly the same"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """A data set's splits, the images that two of them share, and one line for each thing to look at.

    `absent` says why a split could not be opened.
    """

    name: str
    licence: str
    classes: tuple[str, ...]
    splits: tuple[SplitSurvey, ...]
    absent: dict[str, str]
    shared: tuple[SharedImage, ...]
    findings: tuple[str, ...]

    @property
    def sound(self) -> bool:
        """Whether every sample can be used, each split's labels teach something, and no image is in two splits."""
        return not self.shared and not any(split.broken or split.unlearnable for split in self.splits)


def survey(
    text: str, *, splits: Sequence[str] = SPLITS, limit: int | None = None, on_progress: Progress | None = None
) -> Survey:
    """Return what the data set that `text` names holds, after reading the first `limit` samples of each split.

    Raises:
        EdgesegError: none of `splits` can be opened; the error of the first.
        InputError: `limit` is below 1.
    """
    if limit is not None and limit < 1:
        raise InputError(f"limit is {limit}; give 1 or more.")
    opened, absent = open_splits(text, splits=splits)
    prints: dict[str, dict[str, tuple[str, NDArray[np.uint8]]]] = {}
    surveyed = []
    for split, data in opened.items():
        prints[split] = {}
        surveyed.append(_survey(data, split=split, limit=limit, prints=prints[split], on_progress=on_progress))
    shared = _shared(prints)
    first = next(iter(opened.values()))
    return Survey(
        name=first.name,
        licence=first.licence,
        classes=tuple(first.classes),
        splits=tuple(surveyed),
        absent=absent,
        shared=shared,
        findings=_findings(opened, tuple(surveyed), shared),
    )


def open_splits(text: str, *, splits: Sequence[str]) -> tuple[dict[str, Dataset], dict[str, str]]:
    """Return the splits of a data set that can be opened, and why the others cannot; raises if none can."""
    opened: dict[str, Dataset] = {}
    absent: dict[str, str] = {}
    first: EdgesegError | None = None
    for split in splits:
        try:
            opened[split] = open_dataset(text, split=split)
        except EdgesegError as error:
            first = first or error
            absent[split] = str(error)
    if not opened:
        raise first or InputError("no split is given.")
    return opened, absent


def _survey(
    data: Dataset,
    *,
    split: str,
    limit: int | None,
    prints: dict[str, tuple[str, NDArray[np.uint8]]],
    on_progress: Progress | None,
) -> SplitSurvey:
    counts = LabelCounts(classes=tuple(data.classes), ignore_index=data.ignore_index)
    present = np.zeros(len(data.classes), np.int64)
    sizes: Counter[str] = Counter()
    broken = []
    total = len(data) if limit is None else min(limit, len(data))
    for index in range(total):
        try:
            sample = data.load(index)
        except DatasetError as error:
            broken.append(str(error))
        else:
            counts.add(sample.labels)
            present += np.bincount(sample.labels.reshape(-1), minlength=256)[: len(present)] > 0
            sizes[f"{sample.image.shape[0]}x{sample.image.shape[1]}"] += 1
            prints[sample.id] = (_exact(sample.image), _alike(sample.image))
        if on_progress is not None:
            on_progress(f"read {split}", index + 1, total)
    labelled = int(counts.pixels.sum())
    return SplitSurvey(
        split=split,
        images=total,
        sizes=dict(sizes.most_common()),
        classes=tuple(
            ClassCount(name=name, share=float(pixels / max(1, labelled)), images=int(images))
            for name, pixels, images in zip(data.classes, counts.pixels, present, strict=True)
        ),
        ignored=float(counts.ignored / max(1, labelled + counts.ignored)),
        missing=counts.missing if counts.images else (),
        broken=tuple(broken),
        unlearnable=_unlearnable(counts, what=f"{data.name} {split}"),
    )


def _unlearnable(counts: LabelCounts, *, what: str) -> str:
    try:
        counts.check(what)
    except DatasetError as error:
        return str(error) if counts.images else ""
    return ""


def _exact(image: NDArray[np.uint8]) -> str:
    return hashlib.sha256(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes()).hexdigest()


def _alike(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return 256 bits that hardly change when an image is saved again or resized, packed in 32 bytes.

    Each bit says whether one of 16x16 cells is darker than its right neighbour ("difference hash").
    """
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    cells = cv2.resize(grey, (CELLS + 1, CELLS), interpolation=cv2.INTER_AREA).astype(np.int16)
    return np.packbits(np.diff(cells, axis=1) > 2)


def _shared(prints: dict[str, dict[str, tuple[str, NDArray[np.uint8]]]]) -> tuple[SharedImage, ...]:
    """Return the images of each split that an earlier one has too."""
    exact: dict[str, str] = {}
    names: list[str] = []
    bits = np.zeros((0, CELLS * CELLS // 8), np.uint8)
    found = []
    for split, samples in prints.items():
        for name, (same, near) in samples.items():
            here = f"{split}/{name}"
            if same in exact:
                found.append(SharedImage(first=exact[same], second=here, how="same"))
                continue
            place = _nearest(near, bits)
            if place is not None:
                found.append(SharedImage(first=names[place], second=here, how="nearly the same"))
        exact = {**{same: f"{split}/{name}" for name, (same, _) in samples.items()}, **exact}
        names += [f"{split}/{name}" for name in samples]
        bits = np.concatenate([bits, *(near[None] for _, near in samples.values())])
    return tuple(found)


def _nearest(near: NDArray[np.uint8], bits: NDArray[np.uint8]) -> int | None:
    """Return which of `bits` (N, 32) is nearly the same as `near` (32,), if any is and the image is not flat."""
    if not len(bits) or _ONES[near].sum() < LEAST_CELLS_SET:
        return None
    apart = _ONES[bits ^ near].sum(axis=1)
    place = int(apart.argmin())
    return place if apart[place] <= MOST_CELLS_APART else None


def _findings(
    opened: dict[str, Dataset], splits: tuple[SplitSurvey, ...], shared: tuple[SharedImage, ...]
) -> tuple[str, ...]:
    found = []
    classes = {split: tuple(data.classes) for split, data in opened.items()}
    if len(set(classes.values())) > 1:
        found.append(
            "The splits have different classes: " + "; ".join(f"{k}: {', '.join(v)}" for k, v in classes.items())
        )
    for split in splits:
        if split.broken:
            found.append(f"{split.split}: {len(split.broken)} of {split.images} samples cannot be used.")
        if split.unlearnable:
            found.append(split.unlearnable)
        elif split.missing:
            found.append(f"{split.split}: no pixel is {', '.join(split.missing)}.")
        if split.ignored > 0.5:
            found.append(f"{split.split}: {split.ignored:.1%} of the pixels are ignored.")
    if shared:
        found.append(f"{len(shared)} images are in two splits, so a score on one tells little about new images.")
    if len({size for split in splits for size in split.sizes}) > 1 and all(split.sizes for split in splits):
        usual = [next(iter(split.sizes)) for split in splits]
        if len(set(usual)) > 1:
            pairs = ", ".join(f"{split.split} {size}" for split, size in zip(splits, usual, strict=True))
            found.append(f"The splits have images of different sizes: mostly {pairs}.")
    return tuple(found)
