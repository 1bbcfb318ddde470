"""Batches are a pure function of seed, epoch and place."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from train.small import Noise

from edgeseg.core.spec import Preprocess
from edgeseg.data import Augment, Sample
from edgeseg.errors import InputError
from edgeseg.train.samples import Batches, TrainingSet, stretched

DATA = Noise(count=6, size=(48, 64))


def batches(*, workers: int = 0, rank: int = 0, world: int = 1, batch: int = 2) -> Batches:
    training = TrainingSet(data=DATA, samples=None, augment=Augment(), preprocess=Preprocess(), size=(64, 64), seed=5)
    return Batches(training=training, count=len(DATA), batch=batch, workers=workers, rank=rank, world=world)


def same(a: list[tuple[torch.Tensor, torch.Tensor]], b: list[tuple[torch.Tensor, torch.Tensor]]) -> bool:
    pairs = zip(a, b, strict=True)
    return all(torch.equal(x, y) for left, right in pairs for x, y in zip(left, right, strict=True))


def test_an_epoch_repeats_itself_and_differs_from_the_next() -> None:
    first = list(batches().epoch(0))
    assert first[0][0].shape == (2, 3, 64, 64)
    assert first[0][0].dtype == first[0][1].dtype == torch.uint8
    assert same(first, list(batches().epoch(0)))
    assert not same(first, list(batches().epoch(1)))


def test_starting_in_the_middle_gives_the_rest() -> None:
    assert same(list(batches().epoch(0))[1:], list(batches().epoch(0, start=1)))


def test_workers_change_nothing() -> None:
    assert same(list(batches().epoch(0)), list(batches(workers=1).epoch(0)))


def test_two_processes_share_each_batch() -> None:
    whole = list(batches().epoch(0))
    halves = [list(batches(rank=rank, world=2).epoch(0)) for rank in (0, 1)]
    joined = [(torch.cat([a[0], b[0]]), torch.cat([a[1], b[1]])) for a, b in zip(*halves, strict=True)]
    assert same(whole, joined)


def test_a_batch_that_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="only 6 training images"):
        batches(batch=7)
    with pytest.raises(InputError, match="2 processes cannot share evenly"):
        batches(batch=3, world=2)


def test_an_image_is_stretched_to_the_inputs_shape() -> None:
    labels = np.tile(np.arange(3, dtype=np.uint8)[:, None], (1, 6))
    found = stretched(Sample(id="x", image=np.zeros((3, 6, 3), np.uint8), labels=labels), size=(6, 6))
    assert found.image.shape == (6, 6, 3)
    assert found.labels[:, 0].tolist() == [0, 0, 1, 1, 2, 2]
