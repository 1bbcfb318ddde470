"""Training samples: cached images, and augmentation that depends only on (seed, epoch, index)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader

from edgeseg.core.spec import Preprocess
from edgeseg.data import Augment, Crop, Dataset, Sample
from edgeseg.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edgeseg.train.rare_classes import RareClasses

Batch = tuple[torch.Tensor, torch.Tensor]
"""Normalised images (N, 3, H, W) float32 and labels (N, H, W) int64."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSet:
    """Maps (epoch, index) to an augmented image (3, H, W) uint8 in the model's colour order, and its labels.

    An image of another aspect ratio than the input is first stretched along one side, as the model's resize rule does.
    """

    data: Dataset
    samples: Sequence[Sample] | None
    augment: Augment
    preprocess: Preprocess
    size: tuple[int, int]
    seed: int
    rare: RareClasses | None = None

    def __getitem__(self, key: tuple[int, int]) -> Batch:
        sample = self._augmented(key)
        if self.rare is not None:
            rng = self._rng(key, purpose=2)
            donor = self.rare.donor(rng=rng)
            if donor is not None and donor != key[1]:
                sample = self.rare.pasted(sample, self._augmented((key[0], donor), draw=int(rng.integers(2**31))))
        image = cv2.cvtColor(sample.image, cv2.COLOR_BGR2RGB) if self.preprocess.color_order == "rgb" else sample.image
        return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))), torch.from_numpy(sample.labels)

    def _augmented(self, key: tuple[int, int], *, draw: int = 0) -> Sample:
        """Return the sample cropped and with changed colours; other values of `draw` give other crops."""
        sample = self.original(key[1])
        if self.preprocess.resize == "stretch":
            sample = stretched(sample, size=self.size)
        rng = self._rng(key, draw=draw)
        crop = self.augment.crop(sample.labels.shape, rng=rng, size=self.size)
        if self.rare is not None:
            crop = self.rare.focused(crop, sample.labels, rng=self._rng(key, purpose=1, draw=draw))
        return self.augment.apply_crop(sample, crop, rng=rng)

    def original(self, index: int) -> Sample:
        """Return a sample without augmentation."""
        return self.data.load(index) if self.samples is None else self.samples[index]

    def crop(self, key: tuple[int, int], *, source_size: tuple[int, int]) -> Crop:
        """Return the crop of the sample `key` on its image of `source_size` (height, width).

        The sample is loaded only where its crop depends on its labels.
        """
        if self.preprocess.resize == "stretch":
            source_size = _stretched_size(source_size, size=self.size)
        crop = self.augment.crop(source_size, rng=self._rng(key), size=self.size)
        if self.rare is None or not self.rare.focus:
            return crop
        sample = self.original(key[1])
        if self.preprocess.resize == "stretch":
            sample = stretched(sample, size=self.size)
        return self.rare.focused(crop, sample.labels, rng=self._rng(key, purpose=1))

    def _rng(self, key: tuple[int, int], *, purpose: int = 0, draw: int = 0) -> np.random.Generator:
        """Return the generator of a sample's augmentation (purpose 0), focus (1) or donor (2)."""
        return np.random.default_rng((self.seed, *key, purpose, draw) if purpose or draw else (self.seed, *key))


def stretched(sample: Sample, *, size: tuple[int, int]) -> Sample:
    """Return the sample enlarged along one side to the aspect ratio of `size` (height, width)."""
    high, width = sample.labels.shape
    wanted = _stretched_size((high, width), size=size)
    if wanted == (high, width):
        return sample
    image = cv2.resize(sample.image, wanted[::-1], interpolation=cv2.INTER_LINEAR)
    labels = cv2.resize(sample.labels, wanted[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
    return Sample(id=sample.id, image=np.asarray(image, np.uint8), labels=np.asarray(labels, np.uint8))


def _stretched_size(source_size: tuple[int, int], *, size: tuple[int, int]) -> tuple[int, int]:
    high, width = source_size
    return max(high, round(width * size[0] / size[1])), max(width, round(high * size[1] / size[0]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Batches:
    """The batches of an epoch for one of `world` processes; a pure function of (seed, epoch).

    The last, incomplete batch is dropped; `batch` is the size over all processes.
    """

    training: TrainingSet
    count: int
    batch: int
    workers: int
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        if self.batch % self.world:
            raise InputError(f"run.batch is {self.batch}, which {self.world} processes cannot share evenly.")
        if self.count < self.batch:
            raise InputError(f"run.batch is {self.batch}, but there are only {self.count} training images.")

    def __len__(self) -> int:
        return self.count // self.batch

    def indices(self, epoch: int) -> np.ndarray:
        """Return the sample indices of an epoch, (batches, batch) int64."""
        order = np.random.default_rng((self.training.seed, epoch)).permutation(self.count)
        return order[: len(self) * self.batch].reshape(len(self), self.batch)

    def keys(self, epoch: int, *, batch: int) -> tuple[tuple[int, int], ...]:
        """Return the (epoch, index) of this process's samples in one batch."""
        share = self.batch // self.world
        own = self.indices(epoch)[batch, self.rank * share : (self.rank + 1) * share]
        return tuple((epoch, int(index)) for index in own)

    def epoch(self, epoch: int, *, start: int = 0) -> Iterator[Batch]:
        """Yield (images (n, 3, H, W) uint8, labels (n, H, W) uint8), starting with batch `start`."""
        keys = [list(self.keys(epoch, batch=number)) for number in range(start, len(self))]
        yield from DataLoader(self.training, batch_sampler=keys, num_workers=self.workers)  # type: ignore[arg-type]
