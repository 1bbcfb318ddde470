"""A run's curves and predictions: as text, and as PNG files at every evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
from train.small import recipe

from edgeseg.data import open_dataset
from edgeseg.models.checkpoint import read_spec
from edgeseg.models.resolve import resolve_model
from edgeseg.train import train
from edgeseg.train.figures import CurvePoint, draw_curves, draw_predictions, sparkline, spread_indices, text_curve

if TYPE_CHECKING:
    from pathlib import Path


def decoded(content: bytes) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return image


def test_a_run_draws_at_every_evaluation(tmp_path: Path) -> None:
    given = recipe(schedule={"epochs": 3}, run={"evaluate_every": 2}, data={"train": "streets:4", "val": "streets:2"})
    train(given, out=tmp_path / "run", accelerator="cpu")
    assert sorted(path.name for path in (tmp_path / "run" / "predictions").iterdir()) == [
        "epoch-0002.png", "epoch-0003.png"
    ]  # fmt: skip
    assert decoded((tmp_path / "run" / "curves.png").read_bytes()).shape == (360, 640, 3)


def test_the_sparkline_rises_with_the_score() -> None:
    assert sparkline([0.0, 0.5, 1.0]) == "▁▅█"
    assert sparkline([0.3, 0.3]) == "▁▁"
    assert len(sparkline([index / 100 for index in range(100)])) == 40
    assert sparkline([]) == ""


def test_the_text_curve_has_its_scale() -> None:
    lines = text_curve([0.1, 0.2, 0.4], height=4).splitlines()
    assert len(lines) == 4
    assert lines[0].startswith(" 40.00 %")
    assert lines[-1] == " 10.00 % |*"
    assert lines[0].endswith("*")
    assert "nan" not in text_curve([0.5])


def test_curves_hold_a_line_for_each_scale() -> None:
    points = [
        CurvePoint(epoch=index + 1, loss=1 / (index + 1), miou=None if index % 2 else index / 9) for index in range(9)
    ]
    image = decoded(draw_curves(points))
    assert (image[..., 2].astype(int) - image[..., 0] > 100).any(), "the mIoU's red"
    assert (image[..., 0].astype(int) - image[..., 2] > 100).any(), "the loss's blue"


def test_a_single_value_lies_in_the_middle_of_a_scale() -> None:
    image = decoded(draw_curves([CurvePoint(epoch=1, loss=1.4, miou=0.445)])).astype(int)
    rows = np.nonzero((image[..., 2] - image[..., 0] > 100)[:, 40:56])[0]
    assert rows.size
    assert abs(rows.mean() - 180) < 3, "neither at the top nor at the bottom"


def test_predictions_stand_beside_their_images_and_labels() -> None:
    data = open_dataset("streets:2", split="val")
    samples = [data.load(index) for index in range(2)]
    image = decoded(draw_predictions(samples, [s.labels for s in samples], spec=read_spec(resolve_model(None))))
    third = image.shape[1] // 3
    head = image.shape[0] - 2 * 160
    assert 0 < head < 40
    assert all((image[:head, part * third : (part + 1) * third] < 128).any() for part in range(3)), "a name above each"
    rows = image[head:]
    assert np.array_equal(rows[:, third : 2 * third], rows[:, 2 * third : 3 * third])
    assert not np.array_equal(rows[:, :third], rows[:, third : 2 * third])


def test_the_same_images_are_shown_each_time() -> None:
    assert spread_indices(101) == (0, 33, 66, 100)
    assert spread_indices(2) == (0, 1)
