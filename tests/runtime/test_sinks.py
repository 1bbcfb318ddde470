"""What lands in files and functions: exact labels, class areas, several sinks at once."""

from __future__ import annotations

import dataclasses
import json
import time
from datetime import datetime
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from contracts import tiny_artifact as tiny

from edgeseg.core import atomic
from edgeseg.errors import InputError
from edgeseg.runtime import AreaLines, LabelFolder, VideoSink, load, open_camera, run
from edgeseg.runtime.sinks.base import View
from edgeseg.runtime.sinks.hud import Hud
from edgeseg.runtime.web import WebAddress, WebSink

if TYPE_CHECKING:
    from pathlib import Path

HUD = Hud(title="x", fps=1.0, stages_ms={})


def view(index: int, size: tuple[int, int] = tiny.SIZE, *, media_s: float | None = None) -> View:
    image = tiny.image(size, seed=index)
    labels = (image[:, :, 0] // 64).astype(np.uint8)
    captured_s = time.monotonic() - 0.05
    return View(index=index, image=image, labels=labels, captured_s=captured_s, frame=image, hud=HUD, media_s=media_s)


def test_areas_are_each_classes_share_of_the_pixels(tmp_path: Path) -> None:
    path, times_s = tmp_path / "new" / "areas.jsonl", (0.0, 0.25, None)
    with AreaLines(path, classes=tiny.CLASSES) as sink:
        assert all(sink.write(view(index, media_s=times_s[index])) for index in range(3))
        assert len(path.read_text().splitlines()) == 3, "a line can be read as soon as its frame is done"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["frame"], line["media_s"]) for line in lines] == list(enumerate(times_s))
    for index, line in enumerate(lines):
        expected = [float((view(index).labels == number).mean()) for number in range(4)]
        assert tuple(line["areas"]) == tiny.CLASSES
        np.testing.assert_allclose(list(line["areas"].values()), expected, atol=1e-6)
        assert line["age_ms"] >= 50
        assert datetime.fromisoformat(line["time"]).tzinfo is not None


@pytest.mark.parametrize("make", [lambda path: AreaLines(path, classes=tiny.CLASSES), LabelFolder])
def test_places_that_cannot_be_written_are_refused_before_the_first_frame(tmp_path: Path, make: type) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError), make(tmp_path / "file" / "below"):
        pass


def test_areas_that_exist_are_replaced_by_force_only(tmp_path: Path) -> None:
    path = tmp_path / "areas.jsonl"
    path.write_text("somebody's")
    with pytest.raises(InputError, match="--force"), AreaLines(path, classes=tiny.CLASSES):
        pass
    assert path.read_text() == "somebody's"
    with AreaLines(path, classes=tiny.CLASSES, force=True) as sink:
        sink.write(view(0))
    assert len(path.read_text().splitlines()) == 1


def test_a_label_map_that_cannot_be_written_leaves_no_part(tmp_path: Path) -> None:
    with LabelFolder(tmp_path) as sink:
        sink.write(view(0))
        (tmp_path / "000001.png").mkdir()
        with pytest.raises(InputError, match="cannot be written"):
            sink.write(view(1))
    assert sorted(path.name for path in tmp_path.iterdir()) == [".edgeseg", "000000.png", "000001.png"]


def test_a_label_map_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(name: str) -> None:
        if name == "replace file":
            raise OSError(28, "No space left on device")

    with LabelFolder(tmp_path) as sink:
        monkeypatch.setattr(atomic, "step", full)
        with pytest.raises(InputError, match="No space left on device"):
            sink.write(view(0))
    assert [path.name for path in tmp_path.iterdir()] == [".edgeseg"]


def test_a_recording_goes_on_when_the_source_changes_its_size(tmp_path: Path) -> None:
    path = tmp_path / "out.mkv"
    with VideoSink(path, fps=10) as sink:
        for index in range(4):
            sink.write(view(index, (64, 96) if index < 2 else (96, 128)))
    capture = cv2.VideoCapture(str(path))
    shapes = [capture.read()[1].shape for _ in range(4)]
    capture.release()
    assert shapes == [(64, 96, 3)] * 4


def test_several_sinks_and_a_function_get_the_same_frames(tmp_path: Path) -> None:
    given: dict[int, np.ndarray] = {}
    with load(tiny.make_artifact(tmp_path / "artifact").folder, threads=1) as session:
        web = WebSink(session.artifact.manifest.spec, address=WebAddress(port=0))
        sinks = (
            VideoSink(tmp_path / "o.mp4", fps=30),
            LabelFolder(tmp_path / "labels"),
            AreaLines(tmp_path / "areas.jsonl", classes=tiny.CLASSES),
            web,
        )
        with open_camera("synthetic:1", size=(48, 64)) as camera:
            result = run(
                session, camera, sinks=sinks, on_labels=lambda index, labels: given.update({index: labels}) or index < 4
            )
    assert result.frames == 5, "the function answered False at frame 4"
    assert sorted(given) == [0, 1, 2, 3, 4]
    for index, labels in given.items():
        saved = cv2.imread(str(tmp_path / "labels" / f"{index:06d}.png"), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(saved, labels)
    assert len((tmp_path / "areas.jsonl").read_text().splitlines()) == 5
    assert (tmp_path / "o.mp4").stat().st_size > 1000


def recorded_s(path: Path) -> float:
    capture = cv2.VideoCapture(str(path))
    fps, frames = capture.get(cv2.CAP_PROP_FPS), 0
    while capture.read()[0]:
        frames += 1
    capture.release()
    return frames / fps


@pytest.mark.parametrize("name", ["o.mp4", "o.avi"])
@pytest.mark.parametrize("step_s", [1 / 29, 0.11, 0.4])
def test_a_live_recording_lasts_as_long_as_what_it_shows(tmp_path: Path, name: str, step_s: float) -> None:
    path = tmp_path / name
    noise = np.random.default_rng(0)
    # The engine is slow at first, frames come unevenly, and once the source is away for a while.
    times_s = np.cumsum([0, 5 * step_s, *noise.uniform(0.5 * step_s, 1.5 * step_s, 80), 2.0, *[step_s] * 40])
    with VideoSink(path, fps=30, live=True) as sink:
        for index, time_s in enumerate(times_s):
            sink.write(dataclasses.replace(view(index), captured_s=100 + time_s))
    assert recorded_s(path) == pytest.approx(times_s[-1], rel=0.1)


def test_a_long_absence_is_cut_and_a_short_recording_is_kept(tmp_path: Path) -> None:
    with VideoSink(tmp_path / "gap.avi", fps=10, live=True) as sink:
        for index, time_s in enumerate((*np.arange(12) / 10, 4000.0)):
            sink.write(dataclasses.replace(view(index), captured_s=time_s))
    assert recorded_s(tmp_path / "gap.avi") == pytest.approx(31.1, rel=0.1)
    with VideoSink(tmp_path / "one.mp4", fps=30, live=True) as sink:
        sink.write(view(0))
    assert recorded_s(tmp_path / "one.mp4") > 0
