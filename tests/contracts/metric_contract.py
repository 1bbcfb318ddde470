"""What every metric promises."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import numpy as np

from edgeseg.core import registry
from edgeseg.core.metric_value import MetricValue
from edgeseg.core.records import decode_record, encode_record
from edgeseg.metrics import Metric, Prediction

if TYPE_CHECKING:
    from collections.abc import Callable

CLASSES = ("sky", "road", "car", "tree")
IGNORE = 255


def images(count: int = 4, seed: int = 5) -> list[tuple[Prediction, np.ndarray]]:
    """Return predictions with their truth: blocks of classes, some wrong, some ignored, with logits of cells."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        truth = np.kron(rng.integers(0, len(CLASSES), (6, 8)), np.ones((8, 8))).astype(np.uint8)
        labels = np.where(rng.random(truth.shape) < 0.2, rng.integers(0, len(CLASSES), truth.shape), truth)
        truth[rng.random(truth.shape) < 0.1] = IGNORE
        logits = rng.normal(0, 2, (40, len(CLASSES))).astype(np.float32)
        cells = rng.integers(0, len(CLASSES), 40)
        image = rng.integers(0, 256, (*truth.shape, 3), np.uint8)
        prediction = Prediction(
            labels=labels.astype(np.uint8), image=image, logits=logits, cell_labels=cells.astype(np.intp)
        )
        found.append((prediction, truth))
    return found


class MetricContract:
    """Subclass with `name`, the entry point; with `theirs`, torchmetrics' value of the same images to compare with."""

    name: str
    theirs: Callable[[list[tuple[Prediction, np.ndarray]]], float] | None = None

    def make(self) -> Metric:
        made = registry.load_plugin("metrics", self.name)
        assert callable(made)
        metric = made(CLASSES, ignore_index=IGNORE)
        assert isinstance(metric, Metric)
        return metric

    def values(self, given: list[tuple[Prediction, np.ndarray]]) -> dict[str, MetricValue]:
        metric = self.make()
        for prediction, truth in given:
            metric.update(prediction, truth)
        return metric.compute()

    def test_before_the_first_image_there_is_no_value(self) -> None:
        assert all(value.value is None for value in self.make().compute().values())

    def test_values_survive_a_record_and_say_their_unit(self) -> None:
        for name, value in self.values(images()).items():
            assert name.isidentifier()
            assert value.value is not None
            assert math.isfinite(value.value)
            assert decode_record(MetricValue, json.loads(json.dumps(encode_record(value))), where=name) == value
            assert value.unit

    def test_update_does_not_change_what_it_is_given(self) -> None:
        given, untouched = images(), images()
        self.values(given)
        for (ours, truth), (same, as_it_was) in zip(given, untouched, strict=True):
            assert np.array_equal(truth, as_it_was)
            assert np.array_equal(ours.labels, same.labels)
            assert np.array_equal(ours.logits, same.logits)  # type: ignore[arg-type]

    def test_it_is_as_torchmetrics_has_it(self) -> None:
        theirs = type(self).theirs
        if theirs is None:
            return
        (value,) = self.values(images()).values()
        assert value.value is not None
        assert abs(value.value - theirs(images())) < 1e-5
