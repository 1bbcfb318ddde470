"""The data set protocol: named images with label maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One image, (H, W, 3) uint8 BGR, and its class indices, (H, W) uint8, with the data set's ignored index."""

    id: str
    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]


class NamedImages(Protocol):
    """Images in a fixed order, each with a name."""

    @property
    def name(self) -> str:
        """Their name, for messages and records."""
        ...

    @property
    def split(self) -> str:
        """The split, such as "train", or "unknown"."""
        ...

    @property
    def licence(self) -> str:
        """The licence as an SPDX identifier, or "unknown"."""
        ...

    def __len__(self) -> int: ...

    def item_id(self, index: int, /) -> str:
        """Return the name of an image."""
        ...


@runtime_checkable
class Dataset(NamedImages, Protocol):
    """Images with labels, in a fixed order; `load` reads one at a time.

    Its identity is the hash of the loaded samples. Three optional methods and properties make that faster:
    `item_files(index)` returns the files that a sample is made of, which are then hashed as they lie on disk, and
    `content_rules` (a text) whatever else decides what `load` makes of them. `content_fingerprint()` returns a text
    that stands for the whole content, for data that is rendered. `licence` is an SPDX identifier or "unknown".
    """

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in the order of the class indices."""
        ...

    @property
    def ignore_index(self) -> int:
        """The label of pixels that do not count, 0 to 255."""
        ...

    def load(self, index: int, /) -> Sample:
        """Return a sample; raises `DatasetError` if it cannot be used."""
        ...
