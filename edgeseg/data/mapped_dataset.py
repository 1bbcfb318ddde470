"""What the data sets of a folder share: `MappedDataset`, the base beside the protocol in dataset.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from edgeseg.data.decoding import Decoding


class ClassMapping(Protocol):
    """From what label files hold to class indices."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in the order of the class indices."""

    @property
    def ignore_index(self) -> int:
        """The label of pixels that do not count."""


MappingT = TypeVar("MappingT", bound=ClassMapping)


@dataclass(frozen=True, slots=True, kw_only=True)
class MappedDataset(Generic[MappingT]):
    """One split of a data set in the folder `root`, named after it; `mapping` gives its labels their classes."""

    root: Path
    split: str
    licence: str
    mapping: MappingT
    decoding: Decoding = field(default_factory=Decoding)

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.root.resolve().name

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names."""
        return self.mapping.classes

    @property
    def ignore_index(self) -> int:
        """The label of pixels that do not count."""
        return self.mapping.ignore_index
