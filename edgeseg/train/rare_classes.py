"""More of the classes that a net seldom sees: crops placed on them, and their pixels pasted from other images."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeseg.core.suggestions import unknown
from edgeseg.data import Sample

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from edgeseg.data import Crop
    from edgeseg.train.recipe import SamplingRecipe


@dataclass(frozen=True, slots=True, kw_only=True)
class RareClasses:
    """The rare classes (their indices), the images that show each of them, and how often each method is used."""

    focus: float
    paste: float
    images: dict[int, tuple[int, ...]]
    ignore_index: int

    def focused(self, crop: Crop, labels: NDArray[np.uint8], *, rng: np.random.Generator) -> Crop:
        """Return the crop, or with the chance `focus` one of the same scale that shows a random rare pixel.

        `labels` (H, W) are those of the whole image. First one of its rare classes is drawn, each with the same
        chance, then one of that class's pixels: a pole counts as much as a car (class-uniform sampling, Zhu et al.,
        CVPR 2019, section 3.4).
        """
        chosen, first, second = rng.random() < self.focus, rng.random(), rng.random()
        here = [index for index in self.images if (labels == index).any()] if chosen else []
        if not here:
            return crop
        rows, columns = np.nonzero(labels == here[int(first * len(here))])
        place = int(second * len(rows))
        top = _around(rows[place] * crop.grown[0] // labels.shape[0], crop.grown[0], crop.size[0], rng, crop.top)
        left = _around(columns[place] * crop.grown[1] // labels.shape[1], crop.grown[1], crop.size[1], rng, crop.left)
        return dataclasses.replace(crop, top=top, left=left)

    def donor(self, *, rng: np.random.Generator) -> int | None:
        """Return an image to paste from, one that shows a randomly drawn rare class, or None with 1 - `paste`."""
        chosen, first, second = rng.random() < self.paste, rng.random(), rng.random()
        shown = [images for images in self.images.values() if images] if chosen else []
        if not shown:
            return None
        images = shown[int(first * len(shown))]
        return images[int(second * len(images))]

    def pasted(self, sample: Sample, donor: Sample) -> Sample:
        """Return the sample with the donor's rare pixels over it; both have the same size.

        Ghiasi et al.: Simple Copy-Paste is a Strong Data Augmentation Method, CVPR 2021, with classes for instances.
        Ignored pixels of the sample stay ignored: they may be padding.
        """
        over = np.isin(donor.labels, list(self.images)) & (sample.labels != self.ignore_index)
        image = np.where(over[..., None], donor.image, sample.image)
        return Sample(id=sample.id, image=image, labels=np.where(over, donor.labels, sample.labels))


def rare_classes(
    recipe: SamplingRecipe, samples: Iterable[Sample], *, classes: tuple[str, ...], ignore_index: int
) -> RareClasses | None:
    """Return what the recipe asks for, after one look at every sample's labels, or None if it is off.

    Without names in the recipe, the rare classes are those with fewer pixels than the median class.

    Raises:
        UnknownName: the recipe names a class that the data does not have.
    """
    if not recipe.focus and not recipe.paste:
        return None
    for name in recipe.classes:
        if name not in classes:
            raise unknown("class", name, classes)
    pixels = np.array(
        [np.bincount(sample.labels.ravel(), minlength=256)[: len(classes)] for sample in samples], np.int64
    )
    pixels[:, [index for index in range(len(classes)) if index == ignore_index]] = 0
    total = pixels.sum(0)
    rare = (
        [classes.index(name) for name in recipe.classes]
        if recipe.classes
        else [index for index, count in enumerate(total) if 0 < count < np.median(total[total > 0])]
    )
    images = {index: tuple(np.flatnonzero(pixels[:, index]).tolist()) for index in rare}
    return RareClasses(focus=recipe.focus, paste=recipe.paste, images=images, ignore_index=ignore_index)


def _around(pixel: int, length: int, window: int, rng: np.random.Generator, start: int) -> int:
    """Return a random start of a window that shows `pixel`; the given start where the window covers everything."""
    draw = rng.random()
    if length <= window:
        return start
    low, high = max(0, int(pixel) - window + 1), min(int(pixel), length - window)
    return low + int(draw * (high - low + 1))
