"""Where calibration images come from: a folder, or a data set. Val and test images only with `allow_held_out`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from edgeseg.data import ImageFolder, open_dataset
from edgeseg.data.dataset import NamedImages
from edgeseg.data.licence import UNKNOWN, read_licence
from edgeseg.data.opening import is_folder
from edgeseg.errors import EdgesegError, InputError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from edgeseg.data import Dataset

HELD_OUT = ("val", "test")


class CalibrationSource(NamedImages, Protocol):
    """Images in a fixed order, read one at a time."""

    def load_image(self, index: int, /) -> NDArray[np.uint8]:
        """Return an image, (H, W, 3) uint8 BGR; raises `DatasetError` if it cannot be read."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderSource:
    """The images of one folder; `split` is "unknown" if no name says it."""

    name: str
    split: str
    licence: str
    images: ImageFolder

    def __len__(self) -> int:
        return len(self.images)

    def item_id(self, index: int) -> str:
        """Return an image's file name."""
        return self.images.item_id(index)

    def load_image(self, index: int) -> NDArray[np.uint8]:
        """Return an image, (H, W, 3) uint8 BGR; raises `DatasetError` where it cannot be read."""
        return self.images.load_image(index)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSource:
    """The images of a data set's train split, in any layout."""

    name: str
    split: str
    dataset: Dataset

    @property
    def licence(self) -> str:
        """The data set's licence."""
        return self.dataset.licence

    def __len__(self) -> int:
        return len(self.dataset)

    def item_id(self, index: int) -> str:
        """Return an image's name."""
        return self.dataset.item_id(index)

    def load_image(self, index: int) -> NDArray[np.uint8]:
        """Return an image, (H, W, 3) uint8 BGR; raises `DatasetError` where it cannot be read."""
        return self.dataset.load(index).image


@dataclass(frozen=True, slots=True, kw_only=True)
class PartOfSource:
    """Some images of another source."""

    whole: CalibrationSource
    indices: tuple[int, ...]

    @property
    def name(self) -> str:
        """The other source's name."""
        return self.whole.name

    @property
    def split(self) -> str:
        """The other source's split."""
        return self.whole.split

    @property
    def licence(self) -> str:
        """The other source's licence."""
        return self.whole.licence

    def __len__(self) -> int:
        return len(self.indices)

    def item_id(self, index: int) -> str:
        """Return an image's name."""
        return self.whole.item_id(self.indices[index])

    def load_image(self, index: int) -> NDArray[np.uint8]:
        """Return an image, (H, W, 3) uint8 BGR; raises `DatasetError` where it cannot be read."""
        return self.whole.load_image(self.indices[index])


def leave_out(source: CalibrationSource, *, count: int, needed: int) -> CalibrationSource:
    """Return a source without up to `count` of its images (at most a fifth of them), evenly spaced.

    If it has at least `needed` + `count` images nothing is left out, since some remain unused anyway.
    """
    total = len(source)
    spared = min(count, total // 5)
    if spared <= 0 or total >= needed + count or source.name.split(":")[0] == "streets":
        return source
    left = {round((place + 0.5) * total / spared - 0.5) for place in range(spared)}
    return PartOfSource(whole=source, indices=tuple(index for index in range(total) if index not in left))


def open_source(text: str, *, allow_held_out: bool = False) -> CalibrationSource:
    """Return the images that `text` names: a folder, or a data set as `open_dataset` takes it (its train split).

    Raises:
        InputError: the images belong to a val or test split and `allow_held_out` is off, or there is no such source.
        DatasetError: the folder has no images, or the data set cannot be opened.
    """
    if not is_folder(text):
        return DatasetSource(name=text, split="train", dataset=open_dataset(text, split="train"))
    images = ImageFolder.open(text)
    split = images.split or "unknown"
    if split in HELD_OUT and not allow_held_out:
        raise InputError(
            f"{images.root}: these are {split} images. Calibrating on them would make the {split} figures look too "
            "good. Give training images, or --allow-held-out."
        )
    return FolderSource(name=_data_set_name(images.root), split=split, licence=_licence(images.root), images=images)


def held_out_images(text: str) -> tuple[CalibrationSource, ...]:
    """Return the val and test images of the data set that `text` names, as far as it has them; reads names only.

    Rendered streets have none: no two are the same.
    """
    if text.split(":", maxsplit=1)[0] == "streets":
        return ()
    found: list[CalibrationSource] = []
    for split in HELD_OUT:
        try:
            if not is_folder(text):
                found.append(DatasetSource(name=text, split=split, dataset=open_dataset(text, split=split)))
                continue
            beside = ImageFolder.open(text).root.resolve().parent / split
            if beside.parent.name == "images" and beside.is_dir():
                images = ImageFolder.open(beside)
                licence = _licence(images.root)
                found.append(FolderSource(name=_data_set_name(beside), split=split, licence=licence, images=images))
        except EdgesegError:  # a data set without this split, or without images in it
            continue
    return tuple(found)


def _data_set_name(root: Path) -> str:
    parts = root.resolve().parts
    return "/".join(parts[-3:]) if "images" in parts[-2:] else parts[-1]


def _licence(root: Path) -> str:
    """Return the licence beside the images, or of the data set that contains them (DIR/images/SPLIT)."""
    resolved = root.resolve()
    found = (read_licence(folder) for folder in (resolved, *resolved.parents[:2]))
    return next((licence for licence in found if licence != UNKNOWN), UNKNOWN)
