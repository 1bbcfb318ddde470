"""The field monitor: live agreement with the float artifact, and drift of the input."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from contracts import tiny_artifact as tiny

from edgeseg.core.artifact import open_artifact
from edgeseg.core.files import write_json
from edgeseg.core.quantization import CalibrationSet
from edgeseg.errors import InputError
from edgeseg.pixels.statistics import StatisticsMeter
from edgeseg.runtime import Session, View, load
from edgeseg.runtime.frames.drift_monitor import Monitor, drift_of
from edgeseg.runtime.frames.frame_processor import FrameProcessor
from edgeseg.runtime.frames.options import Reading as Asked
from edgeseg.runtime.frames.options import open_reading
from edgeseg.runtime.sinks.hud import Hud

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    with load(tiny.make_artifact(tmp_path / "artifact").folder, threads=1) as found:
        yield found


def view_of(image: np.ndarray, labels: np.ndarray, index: int = 0) -> View:
    hud = Hud(title="", fps=0.0, stages_ms={})
    return View(index=index, image=image, labels=labels, captured_s=0.0, frame=image, hud=hud)


def watch(monitor: Monitor, views: list[View]) -> None:
    for done, view in enumerate(views, 1):
        monitor.write(view)
        for _ in range(1000):
            if monitor.observation().frames >= done or monitor.observation().fault:
                break
            time.sleep(0.005)


def test_agreement_is_the_share_of_equal_labels(session: Session) -> None:
    image = tiny.image()
    right = session.segment(image)
    half = right.copy()
    half[:32] = (half[:32] + 1) % 4
    with Monitor(FrameProcessor(session), every=1) as monitor:
        watch(monitor, [view_of(image, right), view_of(image, half)])
    seen = monitor.observation()
    assert (seen.frames, seen.last_agreement, seen.agreement) == (2, 0.5, 0.75)


def test_drift_shows_against_the_first_frames(session: Session) -> None:
    images = [tiny.image(seed=seed) for seed in range(3)]
    views = [view_of(image, session.segment(image)) for image in images]
    dark = [view_of((image // 3), session.segment(image // 3)) for image in images]
    with Monitor(FrameProcessor(session), every=1, warm_up=3) as monitor:
        watch(monitor, [*views, *views])
        same = monitor.observation().drift
        watch(monitor, [*dark, *dark, *dark])
    changed = monitor.observation().drift
    assert same is not None
    assert changed is not None
    assert same.histogram_distance < 0.01
    assert changed.histogram_distance > 0.1


def test_the_images_of_the_calibration_are_the_reference_where_the_artifact_knows_them(
    session: Session, tmp_path: Path
) -> None:
    meter = StatisticsMeter()
    meter.update(tiny.image(seed=1))
    calibrated = CalibrationSet(
        source="s", split="train", item_ids=("1",), selection="", seed=0, class_pixels=(1,) * 4, preprocess_sha256="",
        sha256="", statistics=meter.result(),
    )  # fmt: skip
    folder = tiny.make_artifact(tmp_path / "calibrated").folder
    manifest = dataclasses.replace(open_artifact(folder).manifest, calibration=calibrated)
    write_json(manifest.sealed(), folder / "manifest.json")
    dark = tiny.image(seed=1) // 3
    references = []
    for path in (folder, session.artifact.folder):
        with (
            load(path, threads=1) as one,
            open_reading(
                one, Asked(monitor=session.artifact.folder, monitor_every=1), engine=None, notify=str
            ) as opened,
        ):
            assert opened.monitor is not None
            with opened.monitor as monitor:
                watch(monitor, [view_of(dark, one.segment(dark))])
            seen = monitor.observation()
            references.append((seen.reference, seen.drift is not None and seen.drift.histogram_distance > 0.1))
    assert references == [("calibration images", True), ("the first 10 frames", False)]


def test_drift_measures_say_what_changed() -> None:
    rng = np.random.default_rng(0)
    noise = np.clip(rng.normal(120, 20, (64, 64, 3)), 0, 255).astype(np.uint8)

    def statistics(image: np.ndarray) -> StatisticsMeter:
        meter = StatisticsMeter()
        meter.update(image)
        return meter

    reference = statistics(noise).result()
    assert reference.mean[0] == pytest.approx(noise[..., 0].mean() / 255, abs=1e-6)
    assert reference.std[1] == pytest.approx(noise[..., 1].std() / 255, abs=1e-6)
    still = drift_of(reference, reference)
    assert (still.mean_shift, still.std_ratio, still.histogram_distance) == (0, 1, 0)
    bright = drift_of(statistics(noise + 51).result(), reference)
    assert bright.mean_shift == pytest.approx(51 / noise[..., 0].std(), rel=0.1)
    assert bright.histogram_distance == pytest.approx(0.2, abs=0.02)
    flat = drift_of(statistics((noise // 2) + 60).result(), reference)
    assert flat.std_ratio == pytest.approx(0.5, abs=0.03)


def test_a_monitor_that_fails_leaves_the_loop_alone_and_says_why(session: Session) -> None:
    image = tiny.image()
    session.close()
    with Monitor(FrameProcessor(session), every=1) as monitor:
        watch(monitor, [view_of(image, np.zeros(tiny.SIZE, np.uint8))])
        assert monitor.write(view_of(image, np.zeros(tiny.SIZE, np.uint8)))
    assert "closed" in (monitor.observation().fault or "")
    with pytest.raises(InputError):
        Monitor(FrameProcessor(session), every=0)
