"""Augmentation: image and labels stay on top of each other, and a generator's state is all the chance there is."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edgeseg.data import Augment, Sample, render_street
from edgeseg.errors import InputError

STILL = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue_degrees": 0.0, "gamma": 0.0, "blur_chance": 0.0,
         "noise": 0.0}  # fmt: skip


@pytest.fixture(scope="module")
def painted() -> Sample:
    """An image that shows its own labels as grey levels, in patches of 40 pixels."""
    cells = np.random.default_rng(0).integers(0, 11, (9, 12), np.uint8)
    labels = np.kron(cells, np.ones((40, 40), np.uint8))
    return Sample(id="x", image=np.repeat((labels * 20)[:, :, None], 3, axis=2), labels=labels)


@pytest.mark.parametrize("size", [(128, 160), (360, 480), (500, 300)])
@pytest.mark.parametrize("scale", [(0.5, 0.5), (1.0, 1.0), (1.37, 1.37), (2.0, 2.0), (0.4, 2.2)])
def test_labels_stay_aligned(painted, size, scale):
    augment = Augment(scale_min=scale[0], scale_max=scale[1], aspect=0.1, pad_bgr=(255, 255, 255), **STILL)
    for seed in range(4):
        out = augment.apply(painted, rng=np.random.default_rng(seed), size=size)
        assert out.image.shape == (*size, 3)
        assert out.labels.shape == size
        assert (out.image.dtype, out.labels.dtype) == (np.uint8, np.uint8)
        assert set(np.unique(out.labels)) <= {*range(11), 255}
        shown = np.where(out.labels == 255, 255, out.labels * 20)
        flat = cv2.dilate(out.labels, np.ones((5, 5))) == cv2.erode(out.labels, np.ones((5, 5)))  # away from borders
        flat[:3], flat[-3:], flat[:, :3], flat[:, -3:] = False, False, False, False  # a border may lie just outside
        assert flat.mean() > 0.1
        assert np.array_equal(out.image[:, :, 0][flat], shown[flat])


@pytest.mark.parametrize("zoom", [0.5, 2.0])
def test_a_zoom_shifts_nothing(zoom):
    labels = np.zeros((64, 64), np.uint8)
    labels[16:48, 16:48] = 5
    sample = Sample(id="x", image=np.repeat((labels * 40)[:, :, None], 3, axis=2), labels=labels)
    augment = Augment(scale_min=zoom, scale_max=zoom, flip=0.0, **STILL)
    out = augment.apply(sample, rng=np.random.default_rng(0), size=(64, 64))
    weight = out.image[:, :, 0].astype(float) * (out.labels != 255)
    inside = (out.labels == 5).astype(float)
    for axis in (0, 1):
        places = np.arange(64)
        assert abs(np.average(places, weights=weight.sum(axis)) - np.average(places, weights=inside.sum(axis))) < 0.26


def test_nothing_asked_gives_the_sample_back(painted):
    out = Augment(scale_min=1.0, scale_max=1.0, flip=0.0, **STILL).apply(
        painted, rng=np.random.default_rng(0), size=(360, 480)
    )
    assert np.array_equal(out.image, painted.image)
    assert np.array_equal(out.labels, painted.labels)


def test_flip_turns_both(painted):
    out = Augment(scale_min=1.0, scale_max=1.0, flip=1.0, **STILL).apply(
        painted, rng=np.random.default_rng(0), size=(360, 480)
    )
    assert np.array_equal(out.image, painted.image[:, ::-1])
    assert np.array_equal(out.labels, painted.labels[:, ::-1])


def test_padding_is_ignored_and_the_input_is_left_alone(painted):
    before = painted.image.copy(), painted.labels.copy()
    out = Augment(scale_min=0.5, scale_max=0.5, pad_bgr=(1, 2, 3), **STILL).apply(
        painted, rng=np.random.default_rng(3), size=(360, 480)
    )
    padded = out.labels == 255
    assert padded.sum() == 360 * 480 - 180 * 240
    assert (out.image[padded] == (1, 2, 3)).all()
    assert np.array_equal(before[0], painted.image)
    assert np.array_equal(before[1], painted.labels)


def test_the_generator_is_all_the_chance(painted):
    augment = Augment(blur_chance=1.0, noise=8.0)
    first, second, other = (
        augment.apply(painted, rng=np.random.default_rng([1, 2, n]), size=(128, 128)) for n in (3, 3, 4)
    )
    assert np.array_equal(first.image, second.image)
    assert np.array_equal(first.labels, second.labels)
    assert not np.array_equal(first.image, other.image)


def test_colour_leaves_geometry_alone_and_grey_grey():
    image, labels = render_street(3)
    sample = Sample(id="x", image=image, labels=labels)
    still = Augment(**STILL).apply(sample, rng=np.random.default_rng(5), size=(200, 200))
    vivid = Augment(hue_degrees=20.0).apply(sample, rng=np.random.default_rng(5), size=(200, 200))
    assert np.array_equal(still.labels, vivid.labels)
    assert not np.array_equal(still.image, vivid.image)
    grey = Sample(id="x", image=np.full((8, 8, 3), 90, np.uint8), labels=np.zeros((8, 8), np.uint8))
    only = Augment(**{**STILL, "hue_degrees": 90.0, "saturation": 0.9}, scale_min=1.0, scale_max=1.0)
    out = only.apply(grey, rng=np.random.default_rng(1), size=(8, 8))
    assert np.abs(out.image.astype(int) - 90).max() <= 1


@pytest.mark.parametrize(
    ("wrong", "says"),
    [({"flip": 1.5}, "flip is 1.5"), ({"brightness": -0.1}, "brightness"), ({"scale_min": 3.0}, "scale_min 3.0"),
     ({"noise": -1.0}, "noise"), ({"scale_min": 0.0}, "scale_min"), ({"ignore_index": 300}, "ignore_index"),
     ({"hue_degrees": float("nan")}, "hue_degrees"), ({"pad_bgr": (0, 0, 999)}, "pad_bgr")],
)  # fmt: skip
def test_parameters_out_of_range_are_refused(wrong, says):
    with pytest.raises(InputError, match=says):
        Augment(**wrong)
