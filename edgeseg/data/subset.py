"""A part of a data set, by sample indices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeseg.data.dataset import Dataset, Sample

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Subset:
    """The samples `indices` of `whole`, in that order, as the split `split`."""

    whole: Dataset
    indices: tuple[int, ...]
    split: str

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names."""
        return self.whole.classes

    @property
    def ignore_index(self) -> int:
        """The label of pixels that do not count."""
        return self.whole.ignore_index

    @property
    def name(self) -> str:
        """The whole data set's name."""
        return self.whole.name

    @property
    def licence(self) -> str:
        """The whole data set's licence."""
        return self.whole.licence

    @property
    def content_rules(self) -> str:
        """The rules besides the files that decide the result of `load`."""
        return str(getattr(self.whole, "content_rules", ""))

    def __len__(self) -> int:
        return len(self.indices)

    def item_id(self, index: int) -> str:
        """Return the name of a sample."""
        return self.whole.item_id(self.indices[index])

    def item_files(self, index: int) -> tuple[Path, ...]:
        """Return the files of a sample; none if the data set is not stored in files."""
        files = getattr(self.whole, "item_files", None)
        return () if files is None else tuple(files(self.indices[index]))

    def load(self, index: int) -> Sample:
        """Return a sample; raises `DatasetError` if it cannot be used."""
        return self.whole.load(self.indices[index])
