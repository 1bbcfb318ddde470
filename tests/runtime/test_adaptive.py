"""Stepping through input sizes: down under load, up again with patience, never silently, never mid-frame."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from contracts import tiny_artifact as tiny

from edgeseg.errors import InputError
from edgeseg.runtime import Session, load, open_camera, run
from edgeseg.runtime.frames.adaptive_resolution import Ladder
from edgeseg.runtime.frames.frame_processor import FrameProcessor
from edgeseg.runtime.frames.options import Reading, artifacts_in, open_reading
from edgeseg.runtime.frames.temporal_smoothing import smoother_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIZES = ((128, 192), (64, 96), (32, 48))


@pytest.fixture
def sessions(tmp_path: Path) -> Iterator[list[Session]]:
    with ExitStack() as opened:
        folders = [tiny.make_artifact(tmp_path / "bundle" / f"{h}x{w}", size=(h, w)).folder for h, w in SIZES]
        yield [opened.enter_context(load(folder, threads=1)) for folder in folders]


def ladder_of(sessions: list[Session], words: list[str], **limits: float) -> Ladder:
    return Ladder([FrameProcessor(session) for session in sessions], notify=words.append, **limits)


def feed(ladder: Ladder, busy_ms: float, frames: int) -> None:
    for _ in range(frames):
        ladder.observe(busy_ms=busy_ms, latency_ms=2 * busy_ms)


def test_it_steps_down_under_load_says_so_and_stays_at_the_smallest(sessions: list[Session]) -> None:
    words: list[str] = []
    ladder = ladder_of(sessions, words, fps=20.0)
    feed(ladder, 70.0, 12)
    assert ladder.size == (64, 96)
    assert words == ["frames take 140 % of the time allowed: input size 128x192 to 64x96."]
    feed(ladder, 70.0, 100)
    assert ladder.size == (32, 48)
    assert len(words) == 3  # two steps, and once that there is no smaller one
    assert "smallest" in words[-1]


def test_a_single_slow_frame_changes_nothing(sessions: list[Session]) -> None:
    ladder = ladder_of(sessions, [], fps=20.0)
    for _ in range(20):
        feed(ladder, 20.0, 11)
        feed(ladder, 900.0, 1)
    assert ladder.steps == 0


def test_it_goes_up_only_with_slack_for_the_larger_size(sessions: list[Session]) -> None:
    ladder = ladder_of(sessions, [], fps=20.0)
    feed(ladder, 70.0, 12)
    feed(ladder, 15.0, 200)  # four times as many pixels would take 60 of 50 ms
    assert ladder.size == (64, 96)
    feed(ladder, 5.0, 100)
    assert ladder.size == (128, 192)


def test_a_load_near_the_limit_does_not_make_it_swing(sessions: list[Session]) -> None:
    """Where the larger size always turns out too slow, tries become rare."""
    ladder = ladder_of(sessions, [], fps=20.0)
    for _ in range(6000):
        feed(ladder, 60.0 if ladder.size == (128, 192) else 9.0, 1)
    assert ladder.steps < 24


def test_a_latency_counts_all_stages(sessions: list[Session]) -> None:
    ladder = ladder_of(sessions, [], latency_ms=50.0)
    feed(ladder, 30.0, 12)
    assert ladder.steps == 1


def test_artifacts_that_do_not_belong_together_are_refused(sessions: list[Session]) -> None:
    with pytest.raises(InputError, match="both 128x192"):
        ladder_of([sessions[0], sessions[0]], [], fps=20.0)
    with pytest.raises(InputError, match="Nothing to keep"):
        ladder_of(sessions, [])
    with pytest.raises(InputError, match="above 0"):
        ladder_of(sessions, [], fps=0.0)


def test_a_bundle_is_a_folder_of_artifacts(sessions: list[Session], tmp_path: Path) -> None:
    found = artifacts_in([tmp_path / "bundle"])
    assert {path.name for path in found} == {"128x192", "64x96", "32x48"}
    assert artifacts_in(found[:1]) == found[:1]


def test_under_a_real_load_the_loop_goes_on_with_every_frame(sessions: list[Session], tmp_path: Path) -> None:
    (tmp_path / "frames").mkdir()
    for index in range(60):
        cv2.imwrite(str(tmp_path / "frames" / f"{index:02}.png"), tiny.image(size=(90, 120), seed=index))
    words: list[str] = []
    shapes: set[tuple[int, ...]] = set()
    reading = Reading(others=tuple(session.artifact.folder for session in sessions[1:]), keep_fps=100_000.0)
    burner = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        with (
            open_reading(sessions[0], reading, engine=None, notify=words.append) as opened,
            open_camera(str(tmp_path / "frames")) as camera,
        ):
            result = run(
                sessions[0],
                camera,
                overlay=False,
                reader=opened.readers,
                on_labels=lambda _index, labels: shapes.add(labels.shape),
            )
    finally:
        burner.kill()
        burner.wait()
    assert result.frames == 60
    assert opened.ladder is not None
    assert opened.ladder.size == (32, 48)
    assert opened.ladder.steps == 2
    assert len(words) == 3
    assert shapes == {(90, 120)}  # the display's size stays, whatever the input's


def test_smoothing_begins_again_with_a_size_that_was_left(sessions: list[Session]) -> None:
    readers = [FrameProcessor(session, smoother=smoother_of("exp:0.9")) for session in sessions[:2]]
    ladder = Ladder(readers, fps=20.0, notify=lambda _words: None)
    before, now = tiny.image(size=(90, 120), seed=1), tiny.image(size=(90, 120), seed=2)

    def labels(image: np.ndarray) -> np.ndarray:
        reader = ladder.current()
        return reader.read(reader.session.infer(reader.prepare(image)), size=(90, 120)).labels.copy()

    labels(before)
    feed(ladder, 70.0, 12)
    assert ladder.size == (64, 96)
    feed(ladder, 5.0, 100)
    assert ladder.size == (128, 192)
    np.testing.assert_array_equal(labels(now), sessions[0].segment(now))
