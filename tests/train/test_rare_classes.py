"""Rare classes: crops that show them, pixels pasted from other images, the same on every run."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgeseg.core.spec import Preprocess
from edgeseg.data import Augment, Sample
from edgeseg.errors import InputError
from edgeseg.train.rare_classes import RareClasses, rare_classes
from edgeseg.train.recipe import SamplingRecipe
from edgeseg.train.samples import TrainingSet

CLASSES = ("road", "car", "pole")
ROAD, CAR, POLE = range(3)
STILL = Augment(scale_min=3.0, scale_max=3.0, flip=0.0, brightness=0, contrast=0, saturation=0, hue_degrees=0,
                gamma=0, blur_chance=0, noise=0, ignore_index=255)  # fmt: skip


class Scenes:
    """Three images: road alone, road with a car, road with a pole of 2x2 pixels in a corner."""

    name, split, licence, classes, ignore_index, colors = "scenes", "train", "CC0-1.0", CLASSES, 255, None

    def __len__(self) -> int:
        return 3

    def load(self, index: int) -> Sample:
        labels = np.zeros((60, 80), np.uint8)
        if index == 1:
            labels[20:50, 20:70] = CAR
        if index == 2:
            labels[0:2, 78:80] = POLE
        return Sample(id=str(index), image=np.repeat(labels[..., None] * 100, 3, 2), labels=labels)


def training(*, focus: float = 0.0, paste: float = 0.0) -> TrainingSet:
    data = Scenes()
    rare = rare_classes(
        SamplingRecipe(focus=focus, paste=paste), [data.load(i) for i in range(3)], classes=CLASSES, ignore_index=255
    )
    return TrainingSet(
        data=data, samples=None, augment=STILL, preprocess=Preprocess(), size=(48, 64), seed=3, rare=rare
    )  # type: ignore[arg-type]


def test_a_focused_crop_always_shows_the_rare_class() -> None:
    plain = [POLE in training()[epoch, 2][1] for epoch in range(30)]
    focused = [POLE in training(focus=1.0)[epoch, 2][1] for epoch in range(30)]
    assert sum(plain) < 10
    assert all(focused)


def test_focus_leaves_an_image_without_rare_classes_as_it_was() -> None:
    a, b = training()[4, 0], training(focus=1.0)[4, 0]
    assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_the_crop_that_distillation_asks_for_is_the_one_that_is_trained() -> None:
    found = training(focus=1.0)
    for epoch in range(5):
        crop = found.crop((epoch, 2), source_size=(60, 80))
        again = STILL.apply_crop(Scenes().load(2), crop, rng=np.random.default_rng(0))
        assert np.array_equal(again.labels, found[epoch, 2][1].numpy())


def test_pasted_pixels_carry_their_labels_and_colours() -> None:
    shown = [training(focus=1.0, paste=1.0)[epoch, 0] for epoch in range(30)]
    pasted = [labels for _, labels in shown if POLE in labels]
    assert len(pasted) > 20, "the pole is the only class below the median, so it is what is pasted"
    for image, labels in shown:
        assert bool((image[0][labels == POLE] > 60).all())
        assert bool((image[0][labels == ROAD] < 140).all())


def test_padding_of_the_sample_and_other_classes_of_the_donor_stay_out() -> None:
    rare = RareClasses(focus=0, paste=1, images={POLE: (0,)}, ignore_index=255)
    sample = Sample(id="a", image=np.full((1, 5, 3), 9, np.uint8), labels=np.array([[0, 255, 0, 0, 255]], np.uint8))
    donor = Sample(id="b", image=np.full((1, 5, 3), 7, np.uint8), labels=np.array([[1, 1, 2, 255, 2]], np.uint8))
    found = rare.pasted(sample, donor)
    assert found.labels.tolist() == [[0, 255, 2, 0, 255]]
    assert found.image[0, :, 0].tolist() == [9, 9, 7, 9, 9]


def test_samples_depend_on_seed_epoch_and_index_alone() -> None:
    a, b = training(focus=0.5, paste=0.5), training(focus=0.5, paste=0.5)
    for epoch in range(3):
        for index in (2, 0, 1):
            assert all(torch.equal(x, y) for x, y in zip(a[epoch, index], b[epoch, index], strict=True))


def test_the_rare_classes_are_those_below_the_median_or_those_named() -> None:
    samples = [Scenes().load(index) for index in range(3)]
    found = rare_classes(SamplingRecipe(focus=1), samples, classes=CLASSES, ignore_index=255)
    assert found is not None
    assert found.images == {POLE: (2,)}
    named = rare_classes(SamplingRecipe(paste=1, classes=("car",)), samples, classes=CLASSES, ignore_index=255)
    assert named is not None
    assert named.images == {CAR: (1,)}
    assert rare_classes(SamplingRecipe(), samples, classes=CLASSES, ignore_index=255) is None


def test_an_unknown_class_is_named_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r"polle.*pole"):
        rare_classes(SamplingRecipe(paste=1, classes=("polle",)), [], classes=CLASSES, ignore_index=255)
    with pytest.raises(ValueError, match="chances from 0 to 1"):
        SamplingRecipe(focus=1.5)
