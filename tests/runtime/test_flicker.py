"""The flicker measure: changes count where the image stood still, or moved along."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from contracts import tiny_artifact as tiny

from edgeseg.cli.main import main
from edgeseg.errors import InputError
from edgeseg.metrics.flicker import flicker
from edgeseg.verbs.flicker import measure_flicker

if TYPE_CHECKING:
    from pathlib import Path

SIZE = (96, 128)


def scene(shift: int = 0) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 1, (96, 256, 3)).astype(np.float32)
    whole = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    return np.ascontiguousarray(whole[:, 40 - shift : 168 - shift])


def test_changes_on_still_pixels_are_counted_exactly() -> None:
    image, before, after = scene(), np.zeros(SIZE, np.uint8), np.zeros(SIZE, np.uint8)
    after[:24, :32] = 1
    found = flicker([(image, before), (image, after), (image, after)])
    assert found.share == pytest.approx(24 * 32 / (2 * 96 * 128))
    assert found.still_share == 1
    assert found.pairs == 2


def test_changes_where_the_image_changed_do_not_count() -> None:
    before, after = scene(), scene()
    after[:, 64:] ^= 128
    labels = np.zeros(SIZE, np.uint8)
    changed = labels.copy()
    changed[:, 70:] = 1
    assert flicker([(before, labels), (after, changed)]).share < 0.01


def test_with_motion_labels_that_move_along_do_not_flicker() -> None:
    frames = []
    for step in range(4):
        labels = np.zeros(SIZE, np.uint8)
        labels[:, 40 + 4 * step : 80 + 4 * step] = 1
        frames.append((scene(4 * step), labels))
    still = [(image, frames[index % 2][1]) for index, (image, _) in enumerate(frames)]
    moved = flicker(frames, motion=True)
    assert moved.still_share > 0.6
    assert moved.share < 0.02
    assert flicker(still, motion=True).share > 2 * moved.share


def test_the_verb_measures_ways_side_by_side(tmp_path: Path) -> None:
    artifact = tiny.make_artifact(tmp_path / "artifact").folder
    rng, image = np.random.default_rng(0), tiny.image().astype(np.float32)
    (tmp_path / "frames").mkdir()
    for index in range(8):
        # Little enough for the pixels to count as still, enough for cells on the brink.
        noisy = np.clip(image + rng.normal(0, 1.5, image.shape), 0, 255).astype(np.uint8)
        cv2.imwrite(str(tmp_path / "frames" / f"{index}.png"), noisy)
    report = measure_flicker(artifact, source=str(tmp_path / "frames"), smooth=("exp:0.6",), baseline=artifact)
    plain, smooth, other, _ = report.rows
    assert report.frames == 8
    assert 0 < smooth.flicker.share < plain.flicker.share == other.flicker.share
    assert plain.agreement == other.agreement == 1
    assert smooth.lag_frames == pytest.approx(1.5)


def test_a_damaged_image_is_left_out_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    artifact = tiny.make_artifact(tmp_path / "artifact").folder
    (tmp_path / "frames").mkdir()
    for index in range(4):
        cv2.imwrite(str(tmp_path / "frames" / f"{index}.png"), tiny.image())
    (tmp_path / "frames" / "2.png").write_bytes(b"no image")
    assert main(["flicker", str(artifact), "--source", str(tmp_path / "frames")]) == 1
    said = capsys.readouterr()
    assert "3 frames of" in said.out
    assert "1 of its frames is corrupt and was left out." in said.err
    assert "2.png" in said.err


def test_one_frame_is_refused(tmp_path: Path) -> None:
    artifact = tiny.make_artifact(tmp_path / "artifact").folder
    cv2.imwrite(str(tmp_path / "one.png"), tiny.image())
    with pytest.raises(InputError, match="two"):
        measure_flicker(artifact, source=str(tmp_path / "one.png"), frames=1)


def test_a_source_without_end_needs_a_number_of_frames(tmp_path: Path) -> None:
    artifact = tiny.make_artifact(tmp_path / "artifact").folder
    with pytest.raises(InputError, match=r"no end.*--frames"):
        measure_flicker(artifact, source="synthetic", threads=1)
    assert measure_flicker(artifact, source="synthetic", threads=1, frames=2).frames == 2
