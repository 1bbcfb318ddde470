"""Synthetic streets: same seed, same bytes; masks that belong to the image; splits that never meet."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest

from edgeseg.data import Dataset, StreetsDataset, StreetVideo, open_dataset, render_street
from edgeseg.data.streets import CLASSES, PALETTE
from edgeseg.data.streets.canvas import Canvas
from edgeseg.errors import InputError, UnknownName

SMALL = (120, 160)


def test_classes_are_camvids_in_order():
    assert len(CLASSES) == len(PALETTE) == 11
    assert (CLASSES[0], CLASSES[3], CLASSES[8], CLASSES[10]) == ("sky", "road", "car", "bicyclist")
    assert PALETTE[3] == (128, 64, 128)


def test_a_seed_gives_the_same_bytes_whatever_was_drawn_before():
    image, labels = render_street(41)
    for other in (7, 8):
        render_street(other, size=SMALL)
    again, labels_again = render_street(41)
    assert (image.shape, image.dtype, labels.shape, labels.dtype) == ((360, 480, 3), np.uint8, (360, 480), np.uint8)
    assert image.tobytes() == again.tobytes()
    assert labels.tobytes() == labels_again.tobytes()


def test_seeds_and_sizes_differ():
    assert not np.array_equal(render_street(1, size=SMALL)[1], render_street(2, size=SMALL)[1])
    for size in ((96, 256), (257, 131), (720, 960)):
        image, labels = render_street(3, size=size)
        assert image.shape == (*size, 3)
        assert labels.shape == size


def test_every_class_appears_and_no_other():
    seen = np.zeros(256, int)
    present = np.zeros(11, int)
    for seed in range(40):
        counts = np.bincount(render_street(seed)[1].ravel(), minlength=256)
        seen += counts
        present += counts[:11] > 20
    assert seen[11:].sum() == 0
    assert present.min() >= 8, dict(zip(CLASSES, present, strict=True))
    share = seen[:11] / seen.sum()
    assert 0.2 < share[3] < 0.45  # road; CamVid has 0.32
    assert 0.1 < share[0] < 0.3  # sky; CamVid has 0.17


def test_sky_lies_above_road():
    for seed in range(12):
        labels = render_street(seed, size=SMALL)[1]
        rows = np.arange(SMALL[0])[:, None] + np.zeros(SMALL[1], int)
        if (labels == 0).any() and (labels == 3).any():
            assert rows[labels == 0].mean() < rows[labels == 3].mean()


def test_every_stroke_puts_the_same_pixels_into_image_and_labels():
    canvas = Canvas(high=90, width=120)
    rng = np.random.default_rng(0)
    texture = np.full((32, 32, 3), 77, np.uint8)
    sprite = np.full((32, 32, 4), 200, np.uint8)
    sprite[..., 3] = np.where(rng.random((32, 32)) < 0.5, 255, 0)
    one = (1.0, 1.0, 1.0)
    strokes = [
        lambda p: canvas.polygon(p, colour=(10.0, 20.0, 30.0), label=5),
        lambda p: canvas.line(p[0], p[1], width_px=3.4, colour=(10.0, 20.0, 30.0), label=5),
        lambda p: canvas.disc(p[0], radii=(7.3, 4.1), colour=(10.0, 20.0, 30.0), label=5),
        lambda p: canvas.texture(p, texture, gain=one, haze=(0.0, 0.0, 0.0), label=5),
        lambda p: canvas.sprite(sprite, foot=p[0], size=(21.3, 33.1), gain=one, haze=(0.0, 0.0, 0.0), label=5),
    ]
    for stroke in strokes:
        for _ in range(25):
            canvas.image[:], canvas.labels[:] = 0, 0
            left, top = rng.uniform(-30, 90), rng.uniform(-30, 60)
            wide, tall = rng.uniform(3, 90), rng.uniform(3, 70)
            corners = np.array([(left, top), (left + wide, top - 4), (left + wide, top + tall), (left, top + tall + 5)])
            stroke(corners)
            assert np.array_equal(canvas.image.any(axis=2), canvas.labels == 5)


def test_splits_and_seeds_never_share_an_image():
    images = {}
    for split in ("train", "val", "test"):
        for seed in (0, 1):
            data = StreetsDataset(split=split, count=3, seed=seed, size=(48, 64))
            for index in range(len(data)):
                sample = data.load(index)
                images[sample.image.tobytes()] = sample.id
    assert len(images) == len(set(images.values())) == 18


def test_data_set_says_what_it_is():
    data = StreetsDataset(split="train", count=200, size=SMALL)
    assert isinstance(data, Dataset)
    assert (data.name, data.split, data.licence, data.ignore_index) == ("streets", "train", "Apache-2.0", 255)
    assert data.item_id(123) == data.load(123).id == "streets-train-000123"
    with pytest.raises(IndexError):
        data.load(200)
    assert len(list(iter(data.load(i).id for i in range(2)))) == 2


def test_open_dataset_reads_count_and_seed():
    data = open_dataset("streets:5:2", split="val")
    assert len(data) == 5
    assert data.item_id(0) == "streets-val-s2-000000"
    assert len(open_dataset("streets", split="train")) > 1000
    for text in ("streets:x", "streets:1:2:3", "streets:-4", "streets:0"):
        with pytest.raises(InputError):
            open_dataset(text, split="train")
    with pytest.raises(UnknownName, match='Did you mean "train"'):
        open_dataset("streets", split="trian")


def test_a_frame_depends_on_seed_and_index_alone():
    video = StreetVideo(5, size=SMALL)
    forward = [video.frame(i) for i in range(4)]
    for i in (3, 1):
        image, labels = StreetVideo(5, size=SMALL).frame(i)
        assert np.array_equal(image, forward[i][0])
        assert np.array_equal(labels, forward[i][1])


def test_consecutive_frames_are_coherent_and_the_drive_goes_on():
    for seed in (5, 9):
        video = StreetVideo(seed, size=(180, 240))
        labels = [video.frame(i)[1] for i in range(60, 70)]
        same = [np.mean(a == b) for a, b in pairwise(labels)]
        assert min(same) > 0.9
        assert np.mean(labels[0] == video.frame(600)[1]) < 0.97
        for far in (10**5, 10**7):
            image, label = video.frame(far)
            assert image.std() > 10
            assert len(np.unique(label)) > 4


def test_label_edges_are_edges_of_the_image():
    on_edges, inside = [], []
    for seed in range(6):
        image, labels = render_street(seed)
        steps = np.abs(np.diff(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY).astype(int), axis=1))
        edge = labels[:, 1:] != labels[:, :-1]
        on_edges.append(steps[edge].mean())
        inside.append(steps[~edge].mean())
    assert np.mean(on_edges) > 2.5 * np.mean(inside)
