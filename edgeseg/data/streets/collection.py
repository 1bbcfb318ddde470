"""Synthetic streets as a data set."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING

from edgeseg.core.suggestions import unknown
from edgeseg.data.dataset import Sample
from edgeseg.data.streets.palette import CLASSES, IGNORE_INDEX
from edgeseg.data.streets.video import Size, render_street
from edgeseg.errors import InputError

if TYPE_CHECKING:
    from edgeseg.data.description import Description

_DEFAULT_COUNT = {"train": 4000, "val": 200, "test": 200}
_SPLITS = ("train", "val", "test")
_SEEDS_PER_SPLIT = 10_000_000

# Small sets are read again and again (epochs, stages, evaluations); an image takes 0.1 s to render and 0.7 MB to keep.
_render = lru_cache(maxsize=32)(render_street)


class StreetsDataset:
    """`count` images of one split; splits never share a seed. Images are rendered on demand."""

    classes = CLASSES
    ignore_index = IGNORE_INDEX
    name = "streets"
    licence = "Apache-2.0"

    def __init__(self, *, split: str, count: int, seed: int = 0, size: Size = (360, 480)) -> None:
        if split not in _SPLITS:
            raise unknown("split of streets", split, _SPLITS)
        if not 1 <= count <= _SEEDS_PER_SPLIT:
            raise InputError(f"streets: count is {count}; give a number from 1 to {_SEEDS_PER_SPLIT}.")
        if seed < 0:
            raise InputError(f"streets: seed is {seed}; give 0 or more.")
        self.split = split
        self.seed = seed
        self.size = size
        self._count = count

    def __len__(self) -> int:
        return self._count

    def item_id(self, index: int) -> str:
        """Return an image's name, such as `streets-train-000123`; a seed other than 0 is part of it."""
        tag = f"-s{self.seed}" if self.seed else ""
        return f"streets-{self.split}{tag}-{self._inside(index):06d}"

    def load(self, index: int) -> Sample:
        """Return one rendered image with its labels."""
        block = self.seed * len(_SPLITS) + _SPLITS.index(self.split)
        image, labels = _render(block * _SEEDS_PER_SPLIT + self._inside(index), size=self.size)
        return Sample(id=self.item_id(index), image=image.copy(), labels=labels.copy())

    def content_fingerprint(self) -> str:
        """Return what determines the images, with the hash of one of them in case the renderer changes."""
        first = self.load(0)
        drawn = hashlib.sha256(first.image.tobytes() + first.labels.tobytes()).hexdigest()
        return f"{self.split} {self.seed} {self._count} {self.size} {drawn}"

    def _inside(self, index: int) -> int:
        if not 0 <= index < self._count:
            raise IndexError(f"streets-{self.split} has {self._count} images; there is no number {index}")
        return index


class StreetsReader:
    """Opens `streets[:count[:seed]]`."""

    summary = "rendered streets with labels: streets[:count[:seed]]"

    def open(self, place: str, /, *, split: str, description: Description) -> StreetsDataset:
        """Return the streets of a split; `place` is "", "count" or "count:seed"."""
        numbers = place.split(":") if place else []
        if len(numbers) > 2 or not all(n.isascii() and n.isdigit() and len(n) < 19 for n in numbers):
            raise InputError(
                f'"streets:{place}" is not streets[:count[:seed]]. Write for example streets:500 or streets:500:3.'
            )
        count = int(numbers[0]) if numbers else _DEFAULT_COUNT.get(split, 200)
        return StreetsDataset(split=split, count=count, seed=int(numbers[1]) if len(numbers) == 2 else 0)


READER = StreetsReader()
