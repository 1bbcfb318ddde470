"""What the overlay shows: the classes' colours, who is in the image, and the loop's figures."""

from __future__ import annotations

import numpy as np
import pytest

from edgeseg.runtime.sinks.hud import Hud, StageTimes
from edgeseg.runtime.sinks.overlay import OPACITY, Overlay

CLASSES = ("road", "sky", "car")
PALETTE = ((128, 64, 128), (70, 130, 180), (0, 0, 142))


def times(p50_ms: float) -> StageTimes:
    return StageTimes(p50_ms=p50_ms, p90_ms=2 * p50_ms, p99_ms=3 * p50_ms)


HUD = Hud(
    title="litert int8",
    fps=31.24,
    stages_ms={"prep": times(0.41), "infer": times(4.1)},
    age_ms=23,
    skipped=3,
    miou=0.713,
)


def test_every_pixel_is_blended_with_the_colour_of_its_class() -> None:
    image = np.full((360, 480, 3), 100, np.uint8)
    labels = np.zeros((360, 480), np.uint8)
    labels[:, 240:] = 1
    drawn = Overlay(CLASSES, palette=PALETTE).draw(image, labels)
    expected = (1 - OPACITY) * 100 + OPACITY * np.array([128, 64, 128])
    np.testing.assert_allclose(drawn[100, 100], expected, atol=1)
    expected = (1 - OPACITY) * 100 + OPACITY * np.array([180, 130, 70])
    np.testing.assert_allclose(drawn[100, 400], expected, atol=1)
    assert (image == 100).all()


def test_the_legend_colours_only_classes_that_are_there() -> None:
    image = np.zeros((360, 480, 3), np.uint8)
    drawn = Overlay(CLASSES, palette=PALETTE).draw(image, np.full((360, 480), 1, np.uint8))
    legend = drawn[-20:].reshape(-1, 3)
    assert (legend == (180, 130, 70)).all(axis=1).any()
    assert not (legend == (142, 0, 0)).all(axis=1).any()


def test_the_hud_leaves_out_what_a_source_does_not_have() -> None:
    stages = "prep 0.4/0.8/1.2  infer 4.1/8.2/12.3 ms"
    assert HUD.items() == ("litert int8", "31.2 FPS", stages, "age 23 ms", "skipped 3", "mIoU 71.3 %")
    assert Hud(title="x", fps=1, stages_ms={"infer": times(2)}).items() == ("x", "1.0 FPS", "infer 2.0/4.0/6.0 ms")
    assert Hud(title="x", fps=1, stages_ms={}).items() == ("x", "1.0 FPS")


@pytest.mark.parametrize("size", [(360, 480), (48, 64), (720, 1280), (1080, 1920), (31, 900)])
def test_any_size_is_drawn(size: tuple[int, int]) -> None:
    drawn = Overlay(CLASSES, palette=PALETTE).draw(np.zeros((*size, 3), np.uint8), np.zeros(size, np.uint8), hud=HUD)
    assert drawn.shape == (*size, 3)
    assert drawn.max() > 100


def test_of_many_classes_only_those_in_the_image_are_listed() -> None:
    classes = tuple(f"class{i}" for i in range(150))
    labels = np.arange(150, dtype=np.uint8).repeat(360 * 480 // 150).reshape(360, 480)
    drawn = Overlay(classes, palette=((255, 0, 0),) * 150).draw(np.zeros((360, 480, 3), np.uint8), labels)
    assert drawn.shape == (360, 480, 3)
    assert (drawn[120] == drawn[121]).all()  # the middle of the image stays free of text
