"""A data set reader: `npz:DIR` opens DIR/classes.txt and DIR/SPLIT/*.npz, each with "image" and "labels"."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeseg.data import Sample
from edgeseg.errors import DatasetError


class NpzReader:
    summary = "classes.txt and SPLIT/*.npz with image (H, W, 3) uint8 BGR and labels (H, W) uint8"

    def open(self, place, /, *, split, description) -> "NpzDataset":
        """Return the data set of a split; raises `DatasetError`."""
        root = Path(place or description.root)
        files = tuple(sorted((root / split).glob("*.npz")))
        if not files or not (root / "classes.txt").is_file():
            raise DatasetError(f"{root}: no classes.txt with {split}/*.npz in it. Give the folder that holds them.")
        classes = tuple((root / "classes.txt").read_text(encoding="utf-8").split())
        return NpzDataset(name=root.name, split=split, classes=classes, files=files)


@dataclass(frozen=True, slots=True, kw_only=True)
class NpzDataset:
    name: str
    split: str
    classes: tuple[str, ...]
    files: tuple[Path, ...]
    ignore_index: int = 255
    licence: str = "unknown"

    def __len__(self) -> int:
        return len(self.files)

    def item_id(self, index: int, /) -> str:
        return self.files[index].stem

    def load(self, index: int, /) -> Sample:
        """Return a sample; raises `DatasetError` where the file is damaged."""
        path = self.files[index]
        try:
            with np.load(path, allow_pickle=False) as stored:
                return Sample(id=path.stem, image=stored["image"], labels=stored["labels"])
        except (OSError, ValueError, KeyError) as error:
            raise DatasetError(f"{path}: not a sample: {error}. Write it with numpy.savez.") from None


READER = NpzReader()
