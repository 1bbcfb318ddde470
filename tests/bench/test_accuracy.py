"""Scores against a hand-worked case, torchmetrics and plain loops."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

from edgeseg.bench import compare_accuracy, measure_accuracy
from edgeseg.core.spec import ModelSpec, Preprocess, TensorSpec
from edgeseg.data import Sample, StreetsDataset
from edgeseg.errors import DatasetError, InputError
from edgeseg.metrics import ConfusionMatrix, Prediction
from edgeseg.metrics.boundary_f1 import BoundaryF1

CLASSES = ("sky", "road", "car")


def spec_for(classes: tuple[str, ...]) -> ModelSpec:
    image = TensorSpec(name="image", shape=(1, 3, 32, 32), dtype="float32", layout="NCHW", role="image")
    logits = dataclasses.replace(image, name="logits", shape=(1, len(classes), 4, 4), role="logits")
    return ModelSpec(
        name="oracle", architecture="none", classes=classes, palette=tuple((i, i, i) for i in range(len(classes))),
        ignore_index=255, inputs=(image,), outputs=(logits,), preprocess=Preprocess(), output_stride=8,
        weights_sha256="", licence="Apache-2.0",
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """A data set in memory; each image carries its own index as its first pixel."""

    labels: tuple[np.ndarray, ...]
    classes: tuple[str, ...] = CLASSES
    ignore_index: int = 255
    name: str = "pairs"
    split: str = "val"
    licence: str = "Apache-2.0"

    def __len__(self) -> int:
        return len(self.labels)

    def item_id(self, index: int, /) -> str:
        return str(index)

    def load(self, index: int, /) -> Sample:
        image = np.full((*self.labels[index].shape, 3), index, np.uint8)
        return Sample(id=str(index), image=image, labels=self.labels[index])


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Gives a stored label map for each image."""

    maps: tuple[np.ndarray, ...]
    spec: ModelSpec = dataclasses.field(default_factory=lambda: spec_for(CLASSES))

    def segment(self, image: np.ndarray) -> np.ndarray:
        return self.maps[int(image[0, 0, 0])]


def random_maps(count: int, *, classes: int, ignore: bool = False, seed: int = 0) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    maps = [np.kron(rng.integers(0, classes, (4, 5)), np.ones((8, 8))).astype(np.uint8) for _ in range(count)]
    if ignore:
        for labels in maps:
            labels[rng.random(labels.shape) < 0.1] = 255
    return tuple(maps)


def test_a_hand_worked_case() -> None:
    labels = np.array([[0, 0, 1], [1, 1, 255]], np.uint8)
    guess = np.array([[0, 1, 1], [1, 0, 2]], np.uint8)
    matrix = ConfusionMatrix(3)
    matrix.update(guess, labels)
    assert matrix.counts.tolist() == [[1, 1, 0], [1, 2, 0], [0, 0, 0]]
    assert matrix.per_class_iou() == (1 / 3, 2 / 4, None)  # what is predicted on ignored pixels does not count
    assert matrix.per_class_dice() == (2 / 4, 4 / 6, None)
    assert matrix.miou() == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert matrix.pixel_accuracy() == pytest.approx(3 / 5)


def test_a_class_that_is_only_predicted_has_an_iou_of_zero() -> None:
    matrix = ConfusionMatrix(3)
    matrix.update(np.array([[2, 1]], np.uint8), np.array([[1, 1]], np.uint8))
    assert matrix.per_class_iou() == (None, 0.5, 0.0)


def test_scores_are_those_of_torchmetrics() -> None:
    import torch
    from torchmetrics.classification import MulticlassConfusionMatrix, MulticlassF1Score, MulticlassJaccardIndex

    labels, guesses = random_maps(4, classes=7, ignore=True, seed=1), random_maps(4, classes=7, seed=2)
    matrix = ConfusionMatrix(7)
    theirs = MulticlassConfusionMatrix(7, ignore_index=255)
    jaccard = MulticlassJaccardIndex(7, average="none", ignore_index=255)
    dice = MulticlassF1Score(7, average="none", ignore_index=255)
    for truth, guess in zip(labels, guesses, strict=True):
        matrix.update(guess, truth)
        pair = torch.from_numpy(guess.astype(np.int64))[None], torch.from_numpy(truth.astype(np.int64))[None]
        for metric in (theirs, jaccard, dice):
            metric.update(*pair)
    assert np.array_equal(matrix.counts, theirs.compute().numpy())
    assert matrix.per_class_iou() == pytest.approx(jaccard.compute().tolist(), abs=1e-6)
    assert matrix.per_class_dice() == pytest.approx(dice.compute().tolist(), abs=1e-6)


def test_a_label_that_is_no_class_is_refused() -> None:
    with pytest.raises(DatasetError, match=r"holds class 200; there are 3 classes"):
        ConfusionMatrix(3).update(np.zeros((2, 2), np.uint8), np.full((2, 2), 200, np.uint8))
    with pytest.raises(InputError, match=r"Class 9 was predicted"):
        ConfusionMatrix(3).update(np.full((2, 2), 9, np.uint8), np.zeros((2, 2), np.uint8))
    with pytest.raises(InputError, match=r"The prediction is 2x3, its label map 2x2"):
        ConfusionMatrix(3).update(np.zeros((2, 3), np.uint8), np.zeros((2, 2), np.uint8))


def plain_boundary_f1(guess: np.ndarray, labels: np.ndarray, *, classes: int, theta: float) -> list[float | None]:
    """Boundary F1 of one image by the definition, pixel by pixel."""

    def edge(map_: np.ndarray, index: int) -> list[tuple[int, int]]:
        found = []
        for y, x in zip(*np.nonzero((map_ == index) & (labels != 255)), strict=True):
            near = [(y + dy, x + dx) for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0))]
            inside = [(a, b) for a, b in near if 0 <= a < labels.shape[0] and 0 <= b < labels.shape[1]]
            if any(labels[p] != 255 and map_[p] != index for p in inside):
                found.append((int(y), int(x)))
        return found

    def share(some: list[tuple[int, int]], others: list[tuple[int, int]]) -> float:
        hits = sum(any(math.dist(a, b) < theta for b in others) for a in some)
        return hits / len(some) if some else 0.0

    scores: list[float | None] = []
    for index in range(classes):
        true, guessed = edge(labels, index), edge(guess, index)
        precision, recall = share(guessed, true), share(true, guessed)
        f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        scores.append(f1 if true or guessed else None)
    return scores


@pytest.mark.parametrize("tolerance", [0.0075, 0.03, 0.08])
def test_boundary_f1_is_its_definition(tolerance: float) -> None:
    labels, guess = random_maps(1, classes=3, ignore=True, seed=5)[0], random_maps(1, classes=3, seed=6)[0]
    score = BoundaryF1(CLASSES, ignore_index=255, tolerance=tolerance)
    score.update(Prediction(labels=guess), labels)
    theta = tolerance * math.hypot(*labels.shape)
    assert score.per_class() == pytest.approx(plain_boundary_f1(guess, labels, classes=3, theta=theta))


def test_boundary_f1_forgives_a_shift_within_the_tolerance_and_no_more() -> None:
    labels = np.zeros((300, 400), np.uint8)  # diagonal 500, tolerance 3.75 pixels
    labels[:, 200:] = 1
    for shift, expected in ((0, 1.0), (3, 1.0), (4, 0.0)):
        guess = np.zeros_like(labels)
        guess[:, 200 + shift :] = 1
        score = BoundaryF1(("left", "right"), ignore_index=255)
        score.update(Prediction(labels=guess), labels)
        assert score.compute()["boundary_f1"].value == expected


def test_an_oracle_scores_one_on_rendered_streets() -> None:
    streets = StreetsDataset(split="val", count=2, size=(96, 128))
    truths = {streets.load(i).image.tobytes(): streets.load(i).labels for i in range(2)}
    clean = SimpleNamespace(
        spec=spec_for(streets.classes),
        segment=lambda image: np.where(truths[image.tobytes()] == 255, 0, truths[image.tobytes()]),
    )
    seen: list[tuple[int, int]] = []
    accuracy = measure_accuracy(clean, streets, on_progress=lambda _what, done, total: seen.append((done, total)))
    assert {name: value.value for name, value in accuracy.metrics.items()} == {
        "miou": 1, "pixel_accuracy": 1, "mean_dice": 1, "boundary_f1": 1,
    }  # fmt: skip
    assert len(accuracy.data_sha256) == 64
    assert (accuracy.data, accuracy.split, accuracy.images) == ("streets", "val", 2)
    assert seen == [(1, 2), (2, 2)]


def test_other_classes_are_refused_with_what_differs() -> None:
    pairs = Pairs(labels=random_maps(1, classes=3), classes=("Sky", "lane", "car"))
    with pytest.raises(
        InputError, match=r"only the model has road; only the data has lane.*Model \(3\): sky, road, car"
    ):
        measure_accuracy(Answers(maps=pairs.labels), pairs)
    swapped = Pairs(labels=pairs.labels, classes=("sky", "car", "road"))
    with pytest.raises(InputError, match=r"the same names in another order, from index 1"):
        measure_accuracy(Answers(maps=pairs.labels), swapped)


def test_class_names_match_whatever_their_case() -> None:
    pairs = Pairs(labels=random_maps(1, classes=3), classes=("SKY", "Road", "car "))
    assert measure_accuracy(Answers(maps=pairs.labels), pairs).miou == 1


def test_nothing_to_score_is_refused() -> None:
    nothing = Pairs(labels=(np.full((8, 8), 255, np.uint8),))
    with pytest.raises(InputError, match=r"every pixel of 1 label maps is ignored"):
        measure_accuracy(Answers(maps=(np.zeros((8, 8), np.uint8),)), nothing)
    with pytest.raises(InputError, match=r"limit is 0"):
        measure_accuracy(Answers(maps=()), nothing, limit=0)
    with pytest.raises(InputError, match=r"the split val has no images"):
        measure_accuracy(Answers(maps=()), Pairs(labels=()))


def test_paired_comparison_bounds_the_change() -> None:
    labels = random_maps(12, classes=3, seed=3)
    worse = []
    for index, truth in enumerate(labels):
        guess = truth.copy()
        guess[: 2 + index % 4] = 0
        worse.append(guess)
    pairs = Pairs(labels=labels)
    found = compare_accuracy(Answers(maps=tuple(worse)), Answers(maps=labels), pairs, resamples=200)
    assert found.baseline_miou == 1
    assert found.change == pytest.approx(measure_accuracy(Answers(maps=tuple(worse)), pairs).miou - 1)
    assert -0.2 < found.low < found.change < found.high < 0
    assert found.label_agreement == pytest.approx(np.mean([a == b for a, b in zip(worse, labels, strict=True)]))
    again = compare_accuracy(Answers(maps=labels), Answers(maps=labels), pairs, resamples=50)
    assert (again.change, again.low, again.high, again.label_agreement) == (0, 0, 0, 1)
