"""Data sets whose labels are shapes: the pixels are filled when a sample is loaded, nothing is written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgeseg.core.files import sha256_of
from edgeseg.data.dataset import Sample
from edgeseg.data.label_maps import misfit
from edgeseg.data.label_names import NameMapping
from edgeseg.data.mapped_dataset import MappedDataset
from edgeseg.data.reading import read_with_header
from edgeseg.errors import DatasetError, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgeseg.data.shapes import Shape


MOST_CHARACTERS = 200
"""Of what is wrong with a shape, which may repeat a whole value of the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotated:
    """One image and its shapes, in the order in which they are drawn; `shapes` reads them.

    `annotations` is their file, and `size` (height, width) the image's as they state it, None if they do not.
    """

    id: str
    image: Path
    annotations: Path
    shapes: Callable[[], Sequence[Shape]]
    size: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ShapeDataset(MappedDataset[NameMapping]):
    """Images with shapes; a later shape covers an earlier one. `shared` is the annotation file of all, if it is one."""

    samples: tuple[Annotated, ...]
    shared: Path | None = None

    def __post_init__(self) -> None:
        taken: dict[Path, str] = {}
        for sample in self.samples:
            other = taken.get(sample.image)
            if other == sample.id:
                raise DatasetError(
                    f"{sample.annotations}: lists the image {sample.image} twice, so each entry has only a part of its "
                    "shapes. Merge the two."
                )
            taken[sample.image] = sample.id
            if other is not None:
                raise DatasetError(
                    f"{sample.annotations}: {other} and {sample.id} both lead to {sample.image}. Export the images "
                    "with their folders."
                )

    @property
    def content_rules(self) -> str:
        """What decides the result of `load` besides a sample's own files: the mapping, and the shared annotations."""
        shared = "" if self.shared is None else sha256_of(self.shared)
        return f"{sorted(self.mapping.names.items())} {self.mapping.outside} {self.decoding.resolved().range} {shared}"

    def __len__(self) -> int:
        return len(self.samples)

    def item_id(self, index: int) -> str:
        """Return a sample's name."""
        return self.samples[index].id

    def item_files(self, index: int) -> tuple[Path, ...]:
        """Return the files of a sample, without the annotations of all."""
        sample = self.samples[index]
        return (sample.image,) if self.shared is not None else (sample.image, sample.annotations)

    def load(self, index: int) -> Sample:
        """Return one image with its labels; raises a `DatasetError` that names the faulty file."""
        sample = self.samples[index]
        image, header = read_with_header(sample.image, decoding=self.decoding)
        if sample.size is not None and sample.size != header.upright:
            raise DatasetError(misfit(sample.annotations, sample.size, image=header, name=sample.image.name))
        where = f"{sample.annotations}: {sample.image.name}"
        labels = np.full(image.shape[:2], self.mapping.outside, np.uint8)
        try:
            shapes = sample.shapes()
            indices = self.mapping.indices([shape.label for shape in shapes], where=where)
            for shape, value in zip(shapes, indices, strict=True):
                labels[shape.area.mask(header.upright)] = value
        except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError) as error:
            why = printable(str(error))[:MOST_CHARACTERS]
            raise DatasetError(f"{where}: a shape cannot be drawn: {why}. Correct or delete it.") from None
        return Sample(id=sample.id, image=image, labels=labels)
