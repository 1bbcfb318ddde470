"""Training images and labels in batches, for the stages that need a sample of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from edgeseg.errors import InputError
from edgeseg.pixels import labels_of_cells
from edgeseg.train.class_weights import class_weights
from edgeseg.train.evaluate import input_of
from edgeseg.train.objective import Objective

if TYPE_CHECKING:
    from edgeseg.core.spec import ModelSpec
    from edgeseg.data import Dataset, Sample
    from edgeseg.train.recipe import LossRecipe

BATCH_SIZE = 8
"""Approximate batch size: a remainder is spread over the other batches, since batch norm needs two images in each."""


def draw_samples(data: Dataset, *, images: int, seed: int) -> list[Sample]:
    """Return `images` samples of `data`, or all if there are fewer, in an order drawn by `seed`.

    Raises:
        InputError: fewer than two images.
    """
    order = np.random.default_rng(seed).permutation(len(data))
    if len(order) < 2:
        raise InputError(f"{data.name} {data.split}: got {len(order)} images; this stage needs at least 2.")
    return [data.load(int(index)) for index in order[:images]]


def labelled_batches(samples: list[Sample], *, spec: ModelSpec) -> tuple[tuple[Tensor, Tensor], ...]:
    """Return normalised images (N, 3, H, W) with labels (N, H, W) at the net's input size, N of 2 or more."""
    count = max(1, len(samples) // BATCH_SIZE)
    parts = [samples[index::count] for index in range(count)]
    made = [[_entry(sample, spec=spec) for sample in part] for part in parts]
    return tuple((torch.cat([x for x, _ in part]), torch.cat([y for _, y in part])) for part in made)


def image_batches(samples: list[Sample], *, spec: ModelSpec) -> list[Tensor]:
    """Return normalised images alone, in batches (N, 3, H, W) at the net's input size."""
    return [images for images, _ in labelled_batches(samples, spec=spec)]


def objective(loss: LossRecipe, samples: list[Sample], *, spec: ModelSpec) -> Objective:
    """Return the loss of a recipe's table, with class weights computed from the samples if it sets them."""
    weights = class_weights(loss, samples, classes=spec.classes, ignore_index=spec.ignore_index)
    return Objective(
        recipe=loss, ignore_index=spec.ignore_index, weights=None if weights is None else torch.from_numpy(weights)
    )


def _entry(sample: Sample, *, spec: ModelSpec) -> tuple[Tensor, Tensor]:
    """Return one normalised image, (1, 3, H, W), and its labels, (1, H, W)."""
    labels = labels_of_cells(
        sample.labels, cells=spec.size, input_size=spec.size, preprocess=spec.preprocess, ignore=spec.ignore_index
    )
    return input_of(sample.image, spec=spec), torch.from_numpy(labels.reshape(spec.size))[None]
