"""The loop: every frame of a file, in order, and an end that leaves nothing behind, whatever ends it."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from contracts import tiny_artifact as tiny

from edgeseg.core.protocols import CameraCounts, Frame
from edgeseg.errors import CameraError, EdgesegError, InputError, MissingDependency, UnknownName
from edgeseg.runtime import LabelFolder, Session, VideoSink, View, WindowSink, load, open_camera, run, window_fault
from edgeseg.runtime.loop import loop

if TYPE_CHECKING:
    from collections.abc import Iterator

STAGES = ("capture", "preprocess", "infer", "decode", "draw", "sink")


class Fake:
    """A camera with frames made by the test."""

    fps = 30.0
    skipped = 0
    counts = CameraCounts()
    trouble = ""

    def __init__(self, *, count: int, live: bool = False, fault: BaseException | None = None, truth: bool = False):
        self.live = live
        self._count = count
        self._fault = fault
        self._truth = truth

    def __enter__(self) -> Fake:
        return self

    def stop(self) -> None:
        return None

    def frames(self) -> Iterator[Frame]:
        for index in range(self._count):
            labels = np.zeros(tiny.SIZE, np.uint8) if self._truth else None
            image = tiny.image(seed=index)
            yield Frame(index=index, image=image, captured_s=time.monotonic(), labels=labels, classes=tiny.CLASSES)
        if self._fault is not None:
            raise self._fault

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class Kept:
    """A sink that keeps what it gets; `fault` is raised at frame `at`."""

    def __init__(self, *, fault: BaseException | None = None, at: int = 2, enough: int | None = None) -> None:
        self.views: list[View] = []
        self.closed = 0
        self._fault = fault
        self._at = at
        self._enough = enough

    def __enter__(self) -> Kept:
        return self

    def write(self, view: View) -> bool:
        if self._fault is not None and len(self.views) == self._at:
            raise self._fault
        self.views.append(view)
        return self._enough is None or len(self.views) < self._enough

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.closed += 1


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    with load(tiny.make_artifact(tmp_path / "artifact").folder, threads=1) as found:
        yield found


@pytest.fixture(scope="module")
def openvino_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("openvino")
    folder = tiny.make_artifact(tmp_path_factory.mktemp("openvino") / "a", file_format="openvino").folder
    with load(folder, threads=1):  # the library's own thread comes with its first use and stays
        return folder


@pytest.fixture(autouse=True)
def _no_thread_stays() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() <= before


@pytest.mark.parametrize("live", [False, True])
def test_every_frame_comes_out_once_in_order_with_its_own_labels(session: Session, live: bool) -> None:
    sink, done = Kept(), []
    result = run(session, Fake(count=20, live=live), sinks=(sink,), overlay=False, on_frame=done.append)
    assert result.frames == 20
    assert done == list(range(1, 21))
    assert [view.index for view in sink.views] == list(range(20))
    for view in sink.views[::6]:
        image = tiny.image(seed=view.index)
        np.testing.assert_array_equal(view.image, image)
        np.testing.assert_array_equal(view.labels, session.segment(image))
    assert sink.closed == 1
    assert result.fps > 0
    assert not result.interrupted
    assert result.miou is None
    assert 0 < result.age_p50_ms <= result.age_p90_ms


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("enough", [None, 1, 5])
def test_overlapping_inferences_change_neither_order_nor_labels(
    openvino_folder: Path, live: bool, enough: int | None
) -> None:
    sink = Kept(enough=enough)
    with load(openvino_folder, threads=2) as session:
        result = run(session, Fake(count=11, live=live), sinks=(sink,), overlay=False)
        assert result.frames == (enough or 11)
        assert [view.index for view in sink.views] == list(range(result.frames))
        for view in sink.views:
            np.testing.assert_array_equal(view.labels, session.segment(tiny.image(seed=view.index)))


def test_the_result_holds_each_stage_that_ran(session: Session) -> None:
    result = run(session, Fake(count=5), sinks=(Kept(),))
    assert tuple(result.stages_ms) == STAGES
    for times in result.stages_ms.values():
        assert 0 <= times.p50_ms <= times.p90_ms <= times.p99_ms
    assert tuple(run(session, Fake(count=5), overlay=False).stages_ms) == STAGES[:4]


def test_frames_ends_an_endless_source(session: Session) -> None:
    with open_camera("synthetic:1", size=(48, 64)) as camera:
        result = run(session, camera, frames=3)
    assert result.frames == 3
    assert result.skipped == 0
    assert result.miou is None, "the street has other classes than the model"


def test_a_live_source_is_run_and_what_it_skipped_is_told(session: Session) -> None:
    with open_camera("synthetic:1?live=1", size=(48, 64), fps=500) as camera:

        def dawdle(_done: int) -> None:
            before, deadline_s = camera.skipped, time.monotonic() + 10
            while camera.skipped == before and time.monotonic() < deadline_s:
                time.sleep(0.01)

        result = run(session, camera, frames=3, on_frame=dawdle)
    assert result.frames == 3
    assert result.skipped > 0


def test_a_sink_that_has_had_enough_ends_the_loop(session: Session) -> None:
    assert run(session, Fake(count=1000), sinks=(Kept(enough=4),)).frames == 4


@pytest.mark.parametrize("live", [False, True])
def test_a_fault_of_the_source_is_raised_once_and_sinks_are_closed(session: Session, live: bool) -> None:
    sink = Kept()
    with pytest.raises(CameraError, match="unplugged"):
        run(session, Fake(count=3, live=live, fault=CameraError("unplugged")), sinks=(sink,))
    assert sink.closed == 1


def test_a_fault_of_a_sink_or_of_the_engine_ends_every_thread(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="disk"):
        run(session, Fake(count=1000), sinks=(Kept(fault=InputError("disk")),))

    def broken(_tensor: np.ndarray) -> np.ndarray:
        raise RuntimeError("engine broke")

    monkeypatch.setattr(session, "infer", broken)
    with pytest.raises(EdgesegError, match=r'stage "infer" failed: RuntimeError: engine broke'):
        run(session, Fake(count=1000))


def test_ctrl_c_gives_the_result_so_far_and_a_finished_video(session: Session, tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    sinks = (VideoSink(path, fps=30), Kept(fault=KeyboardInterrupt(), at=5))
    result = run(session, Fake(count=1000), sinks=sinks)
    assert result.interrupted
    assert result.frames == 5
    assert frames_of(path) == 6
    assert [found.name for found in tmp_path.iterdir() if "partial" in found.name] == []


def test_frames_are_prepared_while_the_next_one_is_captured(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow decoder does not wait for preprocessing: the first one ends only when the second frame is captured."""
    asked, preprocess = threading.Event(), session.preprocess

    class Asked(Fake):
        def frames(self) -> Iterator[Frame]:
            for frame in super().frames():
                if frame.index == 1:
                    asked.set()
                yield frame

    def prepared(image: np.ndarray) -> np.ndarray:
        assert asked.wait(60)
        return preprocess(image)

    monkeypatch.setattr(session, "preprocess", prepared)
    assert run(session, Asked(count=3)).frames == 3


@pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="threads have nice values of their own on Linux")
@pytest.mark.parametrize(("live", "nicer"), [(False, 5), (True, 0)])
def test_the_stages_of_a_file_leave_cores_to_the_engine(session: Session, live: bool, nicer: int) -> None:
    found: list[int] = []

    class Nice(Fake):
        def frames(self) -> Iterator[Frame]:
            found.append(os.getpriority(os.PRIO_PROCESS, 0))
            return super().frames()

    mine = os.getpriority(os.PRIO_PROCESS, 0)
    run(session, Nice(count=2, live=live))
    assert found == [min(19, mine + nicer)]
    assert os.getpriority(os.PRIO_PROCESS, 0) == mine


def test_ctrl_c_waits_for_stuck_stages_together_and_only_briefly(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    free, told = threading.Event(), []

    class Stuck(Fake):
        def frames(self) -> Iterator[Frame]:
            yield from super().frames()
            free.wait(120)

    monkeypatch.setattr(loop, "GRACE_S", 0.1)
    monkeypatch.setattr(loop, "_JOIN_S", 60.0)
    began_s = time.monotonic()
    sinks = (Kept(fault=KeyboardInterrupt(), at=1),)
    result = run(session, Stuck(count=2), sinks=sinks, overlay=False, on_notice=told.append)
    waited_s = time.monotonic() - began_s
    free.set()
    for thread in threading.enumerate():
        if thread.name.startswith("edgeseg-"):
            thread.join(60)
    assert result.interrupted
    assert result.frames == 1
    assert waited_s < 50
    assert told == ['The stage "capture" does not return from native code and was abandoned.']


def test_no_frames_is_no_number_of_frames(session: Session) -> None:
    with pytest.raises(InputError, match="frames is 0"):
        run(session, Fake(count=1), frames=0)


@pytest.mark.parametrize("name", ["out.mp4", "out.avi", "out.mkv", "new/folder/out.mp4"])
def test_videos_hold_every_frame_at_the_sources_size(session: Session, tmp_path: Path, name: str) -> None:
    run(session, Fake(count=7), sinks=(VideoSink(tmp_path / name, fps=12.5),))
    assert frames_of(tmp_path / name) == 7


def test_a_video_that_cannot_be_written_is_refused_before_the_first_frame(session: Session, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path, kind in (
        (tmp_path / "file" / "out.mp4", InputError),
        (tmp_path, InputError),
        (tmp_path / "out.gif", UnknownName),
        (Path("/proc/none/out.mp4"), InputError),
    ):
        with pytest.raises(kind):
            run(session, Fake(count=1), sinks=(VideoSink(path, fps=30),))


def test_a_full_disk_is_one_clear_line(session: Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgeseg.runtime.sinks import places

    monkeypatch.setattr(places.shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(InputError, match="disk is full"):
        run(session, Fake(count=1), sinks=(VideoSink(tmp_path / "o.mp4", fps=30),))


def test_label_maps_go_to_a_folder(session: Session, tmp_path: Path) -> None:
    run(session, Fake(count=3), sinks=(LabelFolder(tmp_path / "labels"),), overlay=False)
    names = sorted(path.name for path in (tmp_path / "labels").glob("*.png"))
    assert names == ["000000.png", "000001.png", "000002.png"]
    labels = cv2.imread(str(tmp_path / "labels" / "000001.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(labels, session.segment(tiny.image(seed=1)))


def test_without_a_screen_a_window_says_what_to_do(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:     NONE\n")
    fault = window_fault()
    assert fault is not None
    assert "opencv-python" in fault.fix
    with pytest.raises(MissingDependency, match="pip install opencv-python"):
        run(session, Fake(count=1), sinks=(WindowSink(),))


def test_a_source_with_ground_truth_gets_its_score(session: Session) -> None:
    predicted = np.mean([float((session.segment(tiny.image(seed=i)) == 0).mean()) for i in range(4)])
    miou = run(session, Fake(count=4, truth=True)).miou
    assert miou is not None
    assert miou <= predicted


def frames_of(path: Path) -> int:
    capture = cv2.VideoCapture(str(path))
    count = 0
    while True:
        good, image = capture.read()
        if not good:
            break
        assert image.shape == (*tiny.SIZE, 3)
        count += 1
    capture.release()
    return count
