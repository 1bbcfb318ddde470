"""Data sets in folders: images with label maps, or images alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.core.suggestions import suggestion, unknown
from edgeseg.data.dataset import Sample
from edgeseg.data.paths import IMAGE_SUFFIXES, SPLITS, images_in, refuse, split_of
from edgeseg.data.reading import read_image, read_labels
from edgeseg.errors import DatasetError

if TYPE_CHECKING:
    import numpy as np

_LAYOUT = "images/{train,val,test}/X.jpg, labels/{train,val,test}/X.png and classes.txt"


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderDataset:
    """`images/SPLIT/X.jpg` with `labels/SPLIT/X.png`; `classes.txt` names one class a line."""

    root: Path
    split: str
    classes: tuple[str, ...]
    licence: str
    images: tuple[Path, ...]
    labels: tuple[Path, ...]
    ignore_index: int = 255

    @classmethod
    def open(cls, root: Path | str, *, split: str = "train") -> FolderDataset:
        """Return the data set in a folder; reads names only. Raises `DatasetError` with every problem of the names."""
        root = Path(root)
        folder = _split_folder(root, split)
        classes = _read_classes(root / "classes.txt")
        images = images_in(folder)
        if not images:
            raise DatasetError(f"{folder}: no images in it. Put images there ({', '.join(IMAGE_SUFFIXES)}).")
        label_folder = root / "labels" / split
        if not label_folder.is_dir():
            raise DatasetError(f"{label_folder}: no such folder, but {folder} has images. A data set is {_LAYOUT}.")
        labels = images_in(label_folder)
        problems = [
            f"{p}: label map is {p.suffix}, PNG is needed (lossy types change class indices). Save it as PNG."
            for p in labels.values()
            if p.suffix.lower() != ".png"
        ]
        problems += [
            f"{images[s]}: no label map {label_folder / s}.png. Add it or remove the image."
            for s in images
            if s not in labels
        ]
        problems += [
            f"{labels[s]}: no image {s}.* in {folder}. Add it or remove the label map."
            for s in labels
            if s not in images
        ]
        refuse(problems)
        return cls(
            root=root,
            split=split,
            classes=classes,
            licence=read_licence(root),
            images=tuple(images.values()),
            labels=tuple(labels[s] for s in images),
        )

    @property
    def name(self) -> str:
        """Return the folder's own name."""
        return self.root.resolve().name

    def __len__(self) -> int:
        return len(self.images)

    def item_id(self, index: int) -> str:
        """Return an image's stem."""
        return self.images[index].stem

    def load(self, index: int) -> Sample:
        """Return one pair; raises `DatasetError` that names the file at fault."""
        image = read_image(self.images[index])
        path = self.labels[index]
        labels = read_labels(path, classes=self.classes, ignore_index=self.ignore_index)
        if labels.shape != image.shape[:2]:
            raise DatasetError(
                f"{path}: label map is {labels.shape[1]}x{labels.shape[0]}, its image {self.images[index].name} is "
                f"{image.shape[1]}x{image.shape[0]}. Resize one of them (labels with nearest neighbour)."
            )
        return Sample(id=self.item_id(index), image=image, labels=labels)

    def check(self, limit: int | None = None) -> tuple[str, ...]:
        """Return every problem found by reading all pairs, or the first `limit` pairs, one line each by file name."""
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

    @classmethod
    def open(cls, path: Path | str) -> ImageFolder:
        """Return the images directly in a folder, or in its `images/train` where it is a data set."""
        root = Path(path)
        if not root.is_dir():
            raise DatasetError(_no_folder(root))
        if (root / "images").is_dir():
            root = root / "images"
        if (root / "train").is_dir():
            root = root / "train"
        names = [p for p in root.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith(".")]
        if not names:
            kinds = ", ".join(IMAGE_SUFFIXES)
            raise DatasetError(f"{root}: no images in it ({kinds}). Give a folder of images or of a data set.")
        return cls(root=root, images=tuple(sorted((p for p in names if p.is_file()), key=lambda p: p.name)))

    @property
    def split(self) -> str | None:
        """Return the split that the folder's name tells, if it tells one."""
        return split_of(self.root.resolve())

    def __len__(self) -> int:
        return len(self.images)

    def item_id(self, index: int) -> str:
        """Return an image's file name."""
        return self.images[index].name

    def load_image(self, index: int) -> np.ndarray:
        """Return one image, (H, W, 3) uint8 BGR; raises `DatasetError` where it cannot be read."""
        return read_image(self.images[index])


def _no_folder(path: Path) -> str:
    if path.exists():
        return f"{path}: a file, not a folder. Give the folder that holds the images."
    near = suggestion(path.name, [p.name for p in path.parent.iterdir() if p.is_dir()]) if path.parent.is_dir() else ""
    return f"{path}: no such folder.{near or ' Say where the data set lies, for example with --data DIR.'}"


def _split_folder(root: Path, split: str) -> Path:
    """Return `root/images/split`, or raise what is missing on the way."""
    if not root.is_dir():
        raise DatasetError(_no_folder(root))
    images = root / "images"
    if not images.is_dir():
        found = "an empty folder" if not any(root.iterdir()) else "no images folder in it"
        raise DatasetError(f"{root}: {found}. A data set is {_LAYOUT}.")
    present = sorted(p.name for p in images.iterdir() if p.is_dir())
    if split not in present:
        if not present:
            raise DatasetError(f"{images}: no split folder in it. A data set is {_LAYOUT}.")
        if split in SPLITS:
            raise DatasetError(f'{images}: has no split "{split}". It has: {", ".join(present)}.')
        raise unknown(f"split of {root}", split, present)
    return images / split


def _read_classes(path: Path) -> tuple[str, ...]:
    """Return the class names of classes.txt."""
    if not path.is_file():
        raise DatasetError(f"{path}: no such file. Write one class name a line, in the order of the class indices.")
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: not UTF-8 text (byte {error.start}). Save it as UTF-8.") from error
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise DatasetError(f"{path}: empty. Write one class name a line, in the order of the class indices.")
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


def read_licence(root: Path) -> str:
    """Return the licence that LICENSE.txt tells: its SPDX or Creative Commons name, else its first line."""
    path = root / "LICENSE.txt"
    if not path.is_file():
        return "unknown"
    text = path.read_text(encoding="utf-8", errors="replace")
    for word in ("CC BY-NC-SA 4.0", "CC BY-NC 4.0", "CC BY-SA 4.0", "CC BY 4.0", "CC0", "Apache-2.0", "MIT"):
        if word in text or word.replace(" ", "-") in text:
            return word.replace(" ", "-")
    return next((line.strip() for line in text.splitlines() if line.strip()), "unknown")
