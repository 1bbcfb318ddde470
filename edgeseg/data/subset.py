"""A part of a data set, by the numbers of its samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeseg.data.dataset import Dataset, Sample

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Subset:
    """The samples `indices` of `whole`, in that order, under the name of a split."""

    whole: Dataset
    indices: tuple[int, ...]
    split: str

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the class names."""
        return self.whole.classes

    @property
    def ignore_index(self) -> int:
        """Return the label of pixels that count nowhere."""
        return self.whole.ignore_index

    @property
    def name(self) -> str:
        """Return the whole data set's name."""
        return self.whole.name

    @property
    def licence(self) -> str:
        """Return the whole data set's licence."""
        return self.whole.licence

    @property
    def rules(self) -> str:
        """Return what decides, beside the files, what `load` gives."""
        return str(getattr(self.whole, "rules", ""))

    def __len__(self) -> int:
        return len(self.indices)

    def item_id(self, index: int) -> str:
        """Return the name of a sample."""
        return self.whole.item_id(self.indices[index])

    def files(self, index: int) -> tuple[Path, ...]:
        """Return the files that a sample is made of; none where the whole data set has none."""
        files = getattr(self.whole, "files", None)
        return () if files is None else tuple(files(self.indices[index]))

    def load(self, index: int) -> Sample:
        """Return a sample; raises `DatasetError` where it cannot be used."""
        return self.whole.load(self.indices[index])
