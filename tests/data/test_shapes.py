"""Which pixels a shape covers."""

from __future__ import annotations

import numpy as np
import pytest

from edgeseg.data.shapes import Bitmap, ColumnRuns, Polygon, box, coco_counts, ellipse, polygon_points, runs_to_pixels

SIZE = (20, 30)


def test_a_box_covers_the_pixels_whose_centres_it_holds() -> None:
    mask = box(3, 2, 7, 5).mask(SIZE)
    expected = np.zeros(SIZE, bool)
    expected[2:5, 3:7] = True
    assert (mask == expected).all()
    assert (box(2.6, 1.6, 7.4, 5.4).mask(SIZE) == expected).all()
    assert box(-5, -5, 100, 100).mask(SIZE).all()
    assert not box(31, 0, 40, 20).mask(SIZE).any()


def test_neighbours_with_a_common_edge_neither_overlap_nor_leave_a_gap() -> None:
    middle = (13.37, 8.11)
    corners = [(0, 0), (30, 0), (30, 20), (0, 20)]
    covered = np.zeros(SIZE, int)
    for first, second in zip(corners, [*corners[1:], corners[0]], strict=True):
        covered += Polygon(((first, second, middle),)).mask(SIZE)
    assert (covered == 1).all()


def test_a_ring_inside_a_ring_is_a_hole() -> None:
    outer, inner = box(2, 2, 18, 18).rings[0], box(5, 5, 9, 9).rings[0]
    mask = Polygon((outer, inner)).mask(SIZE)
    assert mask.sum() == 16 * 16 - 4 * 4
    assert not mask[6, 6]


def test_a_polygon_matches_the_even_odd_rule_pixel_by_pixel() -> None:
    matplotlib_path = pytest.importorskip("matplotlib.path")
    generator = np.random.default_rng(3)
    y, x = np.mgrid[:20, :30] + 0.5
    for _ in range(20):
        angles = np.sort(generator.uniform(0, 2 * np.pi, 9))
        radii = generator.uniform(2, 14, 9)
        ring = [(15 + r * np.cos(a), 10 + r * np.sin(a)) for a, r in zip(angles, radii, strict=True)]
        expected = matplotlib_path.Path(ring).contains_points(np.stack([x.ravel(), y.ravel()], 1)).reshape(SIZE)
        assert (Polygon((tuple(ring),)).mask(SIZE) == expected).all()


def test_an_ellipse_has_its_area() -> None:
    assert ellipse(15, 10, 8, 6).mask(SIZE).sum() == pytest.approx(np.pi * 48, rel=0.03)


def test_a_bitmap_is_cut_at_the_border() -> None:
    mask = Bitmap(np.ones((4, 4), bool), top=-2, left=28).mask(SIZE)
    assert mask.sum() == 4
    assert mask[:2, 28:].all()


def test_coco_run_lengths_go_down_the_columns() -> None:
    mask = np.zeros((4, 5), bool)
    mask[1:3, 2] = True
    assert (ColumnRuns([9, 2, 9], (4, 5)).mask((4, 5)) == mask).all()
    assert (ColumnRuns("929", (4, 5)).mask((4, 5)) == mask).all()
    with pytest.raises(ValueError, match="for 4x5, but the image is 5x4"):
        ColumnRuns([20], (4, 5)).mask((5, 4))


@pytest.mark.parametrize("seed", range(5))
def test_cocos_text_holds_the_same_numbers(seed: int) -> None:
    counts = [int(n) for n in np.random.default_rng(seed).integers(0, 5000, 12)]
    assert coco_counts(coco_text(counts)) == counts


def coco_text(counts: list[int]) -> str:
    """Return COCO's text of run lengths, written from its description."""
    text = ""
    for index, count in enumerate(counts):
        value = count - counts[index - 2] if index > 2 else count
        while True:
            bits, value = value & 0x1F, value >> 5
            more = value != (-1 if bits & 0x10 else 0)
            text += chr(48 + (bits | (0x20 if more else 0)))
            if not more:
                break
    return text


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: runs_to_pixels([3, 4], size=(2, 5)), "add up to 7 pixels, but the mask has 10"),
        (lambda: runs_to_pixels([-1, 11], size=(2, 5)), "add up"),
        (lambda: coco_counts("9\x10"), "character"),
        (lambda: coco_counts("o"), "middle of a number"),
        (lambda: polygon_points([1, 2, 3]), "3 values"),
        (lambda: Polygon((((0, 0), (1, 1)),)).mask(SIZE), "2 points"),
        (lambda: Polygon((((0, 0), (1, 1), (float("nan"), 2)),)).mask(SIZE), "not pairs of numbers"),
    ],
)
def test_what_is_no_shape_is_said(make: object, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()  # type: ignore[operator]
