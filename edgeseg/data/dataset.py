"""What a data set is: named images with label maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One image, (H, W, 3) uint8 BGR, and its class indices, (H, W) uint8; 255 is nobody's class."""

    id: str
    image: np.ndarray
    labels: np.ndarray


@runtime_checkable
class Dataset(Protocol):
    """Images with labels, in a fixed order; `load` reads one at a time."""

    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def ignore_index(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def split(self) -> str: ...
    @property
    def licence(self) -> str: ...

    def __len__(self) -> int: ...

    def item_id(self, index: int, /) -> str:
        """Return the name of a sample."""
        ...

    def load(self, index: int, /) -> Sample:
        """Return a sample; raises `DatasetError` where it cannot be used."""
        ...
