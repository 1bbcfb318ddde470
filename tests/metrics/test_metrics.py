"""Our metrics keep the contract, and where torchmetrics has them too, give its values."""

from __future__ import annotations

import numpy as np
import torch
from contracts.metric_contract import CLASSES, IGNORE, MetricContract, images
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassCalibrationError,
    MulticlassF1Score,
    MulticlassJaccardIndex,
)

from edgeseg.core import registry
from edgeseg.metrics import MetricSet, Prediction
from edgeseg.metrics.iou import MeanIou

Given = list[tuple[Prediction, np.ndarray]]


def of_maps(metric: object, given: Given) -> float:
    for prediction, truth in given:
        pair = (torch.from_numpy(labels.astype(np.int64))[None] for labels in (prediction.labels, truth))
        metric.update(*pair)  # type: ignore[attr-defined]
    return float(metric.compute())  # type: ignore[attr-defined]


def jaccard(given: Given) -> float:
    return of_maps(MulticlassJaccardIndex(len(CLASSES), average="macro", ignore_index=IGNORE), given)


def dice(given: Given) -> float:
    return of_maps(MulticlassF1Score(len(CLASSES), average="macro", ignore_index=IGNORE), given)


def accuracy(given: Given) -> float:
    return of_maps(MulticlassAccuracy(len(CLASSES), average="micro", ignore_index=IGNORE), given)


def calibration(given: Given) -> float:
    metric = MulticlassCalibrationError(len(CLASSES), n_bins=15, norm="l1")
    for prediction, _ in given:
        assert prediction.logits is not None
        assert prediction.cell_labels is not None
        metric.update(torch.from_numpy(prediction.logits).softmax(1), torch.from_numpy(prediction.cell_labels))
    return float(metric.compute())


class TestIou(MetricContract):
    name, theirs = "iou", jaccard


class TestDice(MetricContract):
    name, theirs = "dice", dice


class TestPixelAccuracy(MetricContract):
    name, theirs = "pixel_accuracy", accuracy


class TestCalibrationError(MetricContract):
    name, theirs = "calibration_error", calibration


class TestBoundaryF1(MetricContract):
    name = "boundary_f1"


class TestFlicker(MetricContract):
    name = "flicker"


def test_a_mean_over_fewer_classes_than_there_are_says_so() -> None:
    metric = MeanIou(("road", "crack"), ignore_index=255)
    metric.update(Prediction(labels=np.zeros((4, 4), np.uint8)), np.zeros((4, 4), np.uint8))
    value = metric.compute()["miou"]
    assert value.value == 1
    assert value.note == "over 1 of 2 classes; without crack"


class Broken:
    need = "labels"

    def __init__(self, classes: tuple[str, ...], /, *, ignore_index: int) -> None:
        self.seen = 0

    def update(self, prediction: Prediction, truth: np.ndarray, /) -> None:
        raise ZeroDivisionError("nothing there")

    def compute(self) -> dict[str, object]:
        return {}


def test_a_broken_metric_is_named_and_stops_no_other(monkeypatch: object) -> None:
    ours = registry.load_all("metrics")
    plugins = (*ours, registry.Plugin(name="broken", value=Broken), registry.Plugin(name="gone", value=None, fault="x"))
    monkeypatch.setattr("edgeseg.core.registry.load_all", lambda _group: plugins)  # type: ignore[attr-defined]
    metrics = MetricSet(CLASSES, ignore_index=IGNORE)
    for prediction, truth in images():
        metrics.update(prediction, truth)
    assert set(metrics.compute()) == {"miou", "mean_dice", "pixel_accuracy", "boundary_f1", "calibration_error"}
    assert metrics.faults == (
        "The metric gone is left out: x.", "The metric broken is left out: ZeroDivisionError: nothing there.",
    )  # fmt: skip
