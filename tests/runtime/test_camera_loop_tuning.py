"""Engine threads are chosen by the loop itself, in about the time that was given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from contracts import tiny_artifact as tiny

from edgeseg.runtime import open_camera
from edgeseg.runtime.loop import thread_tuning
from edgeseg.runtime.loop.thread_tuning import tune_threads

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_the_fastest_number_of_threads_that_was_tried_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread_tuning, "usable_cores", lambda: 2)
    folder = tiny.make_artifact(tmp_path / "artifact").folder
    found = tune_threads(folder, source=lambda: open_camera("synthetic:1", size=(48, 64)), trial_s=0.2)
    assert set(found.fps) == {1, 2}
    assert found.fps[found.threads] >= thread_tuning.ENOUGH * max(found.fps.values())
    assert f"Engine threads: {found.threads}" in found.words()


def test_a_live_source_is_not_opened_twice_and_the_golden_image_stands_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thread_tuning, "usable_cores", lambda: 2)
    folder = tiny.make_artifact(tmp_path / "artifact").folder
    assert min(tune_threads(folder, trial_s=0.1).fps.values()) > 0


def test_one_core_leaves_nothing_to_choose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread_tuning, "usable_cores", lambda: 1)
    assert tune_threads(tmp_path / "never opened").threads == 1
