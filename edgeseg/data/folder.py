"""Data sets in folders: images with label maps, or images alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.core.suggestions import suggestion, unknown
from edgeseg.data.dataset import Sample
from edgeseg.data.decoding import Decoding
from edgeseg.data.description import Description, read_description
from edgeseg.data.label_maps import LabelMapping, read_labels
from edgeseg.data.licence import read_licence
from edgeseg.data.mapped_dataset import MappedDataset
from edgeseg.data.paths import IMAGE_SUFFIXES, SPLITS, images_in, refuse, split_of
from edgeseg.data.reading import read_image, read_with_header
from edgeseg.errors import DatasetError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LAYOUT = "images/{train,val,test}/X.jpg, labels/{train,val,test}/X.png and classes.txt"


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderDataset(MappedDataset[LabelMapping]):
    """Pairs of an image file and a label file.

    In a plain folder these are `images/SPLIT/X.jpg` and `labels/SPLIT/X.png`, and `classes.txt` has one class name per
    line; readers of other layouts pass their own pairs and a `mapping` of the values in their label files.
    """

    images: tuple[Path, ...]
    labels: tuple[Path, ...]
    ids: tuple[str, ...] = ()

    @classmethod
    def open(cls, root: Path | str, *, split: str = "train", description: Description | None = None) -> FolderDataset:
        """Return the data set in a folder; reads file names only. Raises `DatasetError` with every problem found."""
        root = Path(root)
        known = description or read_description(root)
        folder = _split_folder(root, split)
        mapping = known.mapping() or LabelMapping.indices(read_classes(root / "classes.txt"))
        images = images_in(folder)
        if not images:
            raise DatasetError(f"{folder}: no images in it. Put images there ({', '.join(IMAGE_SUFFIXES)}).")
        labels = _label_files(root / "labels" / split, images=images, folder_of_images=folder)
        return cls(
            root=root,
            split=split,
            licence=read_licence(root),
            images=tuple(images.values()),
            labels=tuple(labels[s] for s in images),
            mapping=mapping,
            decoding=known.data.decoding(),
        )

    @property
    def content_rules(self) -> str:
        """The rules besides the files that decide the result of `load`: with other rules it is not the same data."""
        ids, colours = sorted(self.mapping.ids.items()), sorted(self.mapping.colours.items())
        return f"{ids} {colours} {self.decoding.resolved().range}"

    def __len__(self) -> int:
        return len(self.images)

    def item_id(self, index: int) -> str:
        """Return an image's name: its stem, or the reader's name for it."""
        return self.ids[index] if self.ids else self.images[index].stem

    def item_files(self, index: int) -> tuple[Path, ...]:
        """Return the files of a sample."""
        return self.images[index], self.labels[index]

    def load(self, index: int) -> Sample:
        """Return one pair; raises a `DatasetError` that names the faulty file."""
        path = self.images[index]
        image, header = read_with_header(path, decoding=self.decoding)
        labels = read_labels(
            self.labels[index], mapping=self.mapping, decoding=self.decoding, image=header, image_path=path
        )
        return Sample(id=self.item_id(index), image=image, labels=labels)

    def check(self, limit: int | None = None) -> tuple[str, ...]:
        """Return every problem found by reading all pairs (or the first `limit`), one line each with the file name."""
        problems = []
        for index in range(len(self) if limit is None else min(limit, len(self))):
            try:
                self.load(index)
            except DatasetError as error:
                problems.append(str(error))
        return tuple(problems)


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageFolder:
    """Images without labels, as calibration takes them."""

    root: Path
    images: tuple[Path, ...]
    decoding: Decoding = field(default_factory=Decoding)

    @classmethod
    def open(cls, path: Path | str) -> ImageFolder:
        """Return the images directly in a folder, or in its `images/train` where it is a data set."""
        root = Path(path)
        if not root.is_dir():
            raise DatasetError(no_folder(root))
        if (root / "images").is_dir():
            root = root / "images"
        if (root / "train").is_dir():
            root = root / "train"
        names = [p for p in root.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")]
        if not names:
            kinds = ", ".join(IMAGE_SUFFIXES)
            raise DatasetError(f"{root}: no images in it ({kinds}). Give a folder of images or of a data set.")
        images = tuple(sorted((p for p in names if p.is_file()), key=lambda p: p.name))
        return cls(root=root, images=images, decoding=read_description(root, above=2).data.decoding())

    @property
    def split(self) -> str | None:
        """The split that the folder's name contains, if any."""
        return split_of(self.root.resolve())

    def __len__(self) -> int:
        return len(self.images)

    def item_id(self, index: int) -> str:
        """Return an image's file name."""
        return self.images[index].name

    def load_image(self, index: int) -> NDArray[np.uint8]:
        """Return one image, (H, W, 3) uint8 BGR; raises `DatasetError` if it cannot be read."""
        return read_image(self.images[index], decoding=self.decoding)


def _label_files(folder: Path, *, images: dict[str, Path], folder_of_images: Path) -> dict[str, Path]:
    """Return the label file of each image by stem; raises `DatasetError` with every file that has no partner."""
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder, but {folder_of_images} has images. A data set is {LAYOUT}.")
    labels = images_in(folder)
    problems = [
        f"{p}: label map is {p.suffix}, PNG is needed (lossy types change class indices). Save it as PNG."
        for p in labels.values()
        if p.suffix.lower() != ".png"
    ]
    problems += [
        f"{images[s]}: no label map {folder / s}.png. Add it or remove the image." for s in images if s not in labels
    ]
    problems += [
        f"{labels[s]}: no image {s}.* in {folder_of_images}. Add it or remove the label map."
        for s in labels
        if s not in images
    ]
    refuse(problems)
    return labels


def no_folder(path: Path) -> str:
    """Return the message for a data set's folder that is not there."""
    if path.exists():
        return f"{path}: a file, not a folder. Give the folder that holds the images."
    near = suggestion(path.name, [p.name for p in path.parent.iterdir() if p.is_dir()]) if path.parent.is_dir() else ""
    return f"{path}: no such folder.{near or ' Give the data set, for example with --data DIR.'}"


def _split_folder(root: Path, split: str) -> Path:
    """Return `root/images/split` (`root/images` without a split), or raise an error that names what is missing."""
    if not root.is_dir():
        raise DatasetError(no_folder(root))
    images = root / "images"
    if not images.is_dir():
        found = "an empty folder" if not any(root.iterdir()) else "no images folder in it"
        raise DatasetError(f"{root}: {found}. A data set is {LAYOUT}.")
    if not split:
        return images
    present = sorted(p.name for p in images.iterdir() if p.is_dir())
    if split not in present:
        if not present:
            raise DatasetError(f"{images}: no split folder in it. A data set is {LAYOUT}.")
        if split in SPLITS:
            raise DatasetError(f'{images}: has no split "{split}". It has: {", ".join(present)}.')
        raise unknown(f"split of {root}", split, present)
    return images / split


def read_classes(path: Path) -> tuple[str, ...]:
    """Return the class names of classes.txt, one per line; raises `DatasetError` if they cannot be used."""
    if not path.is_file():
        raise DatasetError(f"{path}: no such file. Write one class name per line, in the order of the class indices.")
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: not UTF-8 text (byte {error.start}). Save it as UTF-8.") from error
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise DatasetError(f"{path}: empty. Write one class name per line, in the order of the class indices.")
    problems = []
    for number, line in enumerate(lines, start=1):
        if not line:
            problems.append(f"{path}: line {number} is empty, which would shift the class indices. Name the class.")
        elif line in lines[: number - 1]:
            problems.append(f'{path}: line {number} names "{line}" again. Each class needs its own name.')
    if len(lines) > 255:
        problems.append(f"{path}: {len(lines)} classes, 255 are possible (index 255 = ignore). Merge some.")
    refuse(problems)
    return tuple(lines)


class FolderReader:
    """Opens `images/SPLIT` with `labels/SPLIT` and classes.txt; with `[splits]`, `images` with `labels`."""

    summary = f"a folder of {LAYOUT}"

    def open(self, place: str, /, *, split: str, description: Description) -> FolderDataset:
        """Return the data set in the folder `place`."""
        return FolderDataset.open(place, split=split, description=description)


READER = FolderReader()
