"""Sources that need a program of the system: GStreamer, an RTSP server, an X display. Skipped where it is missing."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
import time
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from contracts import xvfb
from contracts.camera_contract import CameraContract
from contracts.mjpeg_server import number_in
from contracts.rtsp_camera import RtspCamera

from edgeseg.errors import CameraError, InputError, MissingDependency
from edgeseg.runtime import open_camera
from edgeseg.runtime.cameras.y4m import layouts, to_bgr

if TYPE_CHECKING:
    from collections.abc import Iterator

needs_gst = pytest.mark.skipif(shutil.which("gst-launch-1.0") is None, reason="gst-launch-1.0 is not installed")
LIVE = "gst:videotestsrc is-live=true pattern=smpte ! video/x-raw,width={width},height={height},framerate=25/1"


def children() -> set[str]:
    """Return the process ids of this process's children."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if stat.read_text().rpartition(")")[2].split()[1] == str(os.getpid()):
                found.add(stat.parent.name)
    return found


@pytest.fixture(autouse=True)
def _nothing_stays() -> Iterator[None]:
    threads = threading.active_count()
    yield
    assert threading.active_count() <= threads


@needs_gst
class TestPipeline(CameraContract):
    def uri(self, folder: Path) -> str:
        return LIVE.format(width=160, height=120)


@needs_gst
@pytest.mark.parametrize("width", [160, 33, 36])
def test_a_pipeline_gives_its_own_size_and_true_colours(width: int) -> None:
    with open_camera(LIVE.format(width=width, height=25) + " ! appsink drop=true") as camera:
        image = next(camera.frames()).image
        assert camera.fps == 25
    assert image.shape == (25, width, 3)
    # The colour bars begin with light grey and end with blue (BGR).
    row = image[5].astype(int)
    assert np.ptp(row[1]) < 12
    assert row[-2][0] > 150
    assert row[-2][2] < 60


@needs_gst
def test_a_pipeline_that_changes_size_is_lost_and_says_so() -> None:
    part = "videotestsrc num-buffers=15 is-live=true ! video/x-raw,width={0},height={0},framerate=30/1 ! c."
    source = f"gst:{part.format(64)} {part.format(96)} concat name=c"
    shapes: set[tuple[int, ...]] = set()
    with open_camera(source, reconnect_s=0) as camera:
        frames = camera.frames()
        with pytest.raises(CameraError, match="changed their size"):
            shapes.update(frame.image.shape for frame in frames)
    assert shapes == {(64, 64, 3)}


@needs_gst
@pytest.mark.parametrize(
    ("source", "kind", "words"),
    [
        ("gst:nosuchsrc device=3", MissingDependency, 'has no "nosuchsrc"'),
        ("gst:filesrc location=/nowhere/x.mp4 ! decodebin", CameraError, "/nowhere/x.mp4"),
        ("gst:videotestsrc ! ! fakesink", CameraError, "does not run"),
        ("gst:videotestsrc pattern='smpte", InputError, "quotation"),
    ],
)
def test_a_pipeline_that_does_not_run_says_why(source: str, kind: type[Exception], words: str) -> None:
    before = children()
    with pytest.raises(kind) as caught, open_camera(source):
        pass
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert children() <= before


@needs_gst
def test_a_killed_pipeline_is_started_again() -> None:
    before = children()
    with open_camera(LIVE.format(width=64, height=48)) as camera:
        frames = camera.frames()
        next(frames)
        for process in children() - before:
            os.kill(int(process), signal.SIGKILL)
        while camera.counts.reconnects < 1:
            next(frames)
        next(frames)
    assert children() <= before


def test_without_gstreamer_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(MissingDependency, match="apt install gstreamer1"), open_camera("gst:videotestsrc"):
        pass


@pytest.mark.parametrize("size", [(24, 32), (25, 33), (24, 36)])
def test_tight_and_padded_planes_hold_the_same_image(size: tuple[int, int]) -> None:
    images = []
    for planes in layouts(*size):
        luma = np.zeros(planes.luma, np.uint8)
        luma[: size[0], : size[1]] = np.arange(size[1])[None] * 3 + 30
        flat = np.concatenate([luma.ravel(), np.full(2 * planes.chroma[0] * planes.chroma[1], 128, np.uint8)])
        assert flat.size == planes.size_bytes
        images.append(to_bgr(bytearray(flat.tobytes()), planes)[: size[0] - 1, : size[1] - 1])
    assert all(np.array_equal(images[0], image) for image in images)
    assert images[0].std() > 5


@pytest.fixture
def rtsp() -> Iterator[RtspCamera]:
    server = RtspCamera(fps=30)
    if not server.start():
        pytest.skip("GStreamer's RTSP server library is not installed")
    yield server
    server.stop()


def test_h264_over_rtsp_shows_the_present_and_accounts_for_every_frame(rtsp: RtspCamera) -> None:
    with open_camera(rtsp.uri("/numbered")) as camera:
        numbers = []
        for frame in islice(camera.frames(), 12):
            time.sleep(0.1)  # a slow net
            numbers.append(number_in(frame.image))
        counts = camera.counts
    assert all(number is not None for number in numbers)
    assert numbers == sorted(numbers)
    # A queue would show every frame: here about three go by for each that is shown.
    assert numbers[-1] - numbers[2] > 15
    assert counts.delivered == 12
    assert counts.captured == counts.delivered + counts.skipped + counts.corrupt + counts.waiting


def test_rtsp_gives_frames_and_comes_back_after_a_loss_and_a_stall(rtsp: RtspCamera) -> None:
    before = children()
    with open_camera(f"{rtsp.uri()}#stall=1") as camera:
        frames = camera.frames()
        assert all(frame.image.shape == (120, 160, 3) for frame in islice(frames, 5))
        rtsp.stop()
        lost = threading.Timer(0.3, rtsp.start)
        lost.start()
        while camera.counts.reconnects < 1:
            next(frames)
        lost.join()
        next(frames)
        rtsp.stop(signal.SIGSTOP)  # it keeps its sockets and says nothing
        stalled = threading.Timer(2.0, rtsp.stop, [signal.SIGCONT])
        stalled.start()
        while camera.counts.reconnects < 2:
            next(frames)
        stalled.join()
        assert camera.counts.reconnects >= 2
    assert rtsp.process is not None
    assert children() <= before | {str(rtsp.process.pid)}


def test_closing_an_rtsp_camera_does_not_wait_for_its_server(rtsp: RtspCamera) -> None:
    with open_camera(rtsp.uri()) as camera:
        next(camera.frames())
        rtsp.stop(signal.SIGSTOP)
        time.sleep(0.2)
        start_s = time.monotonic()
    assert time.monotonic() - start_s < 1.5


@pytest.fixture(scope="module")
def display() -> Iterator[str]:
    pytest.importorskip("mss")
    with xvfb.display() as name, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DISPLAY", name)
        yield name


class TestScreen(CameraContract):
    @pytest.fixture
    def source(self, display: str) -> str:
        return "screen:"


def test_a_screen_has_its_size_and_a_part_of_it_too(display: str) -> None:
    with open_camera("screen:1") as camera:
        assert next(camera.frames()).image.shape == (240, 320, 3)
    with open_camera("screen:?region=10,20,64,48") as camera:
        assert next(camera.frames()).image.shape == (48, 64, 3)
    with pytest.raises(CameraError, match="monitor 7 does not exist"), open_camera("screen:7"):
        pass
    with pytest.raises(InputError, match="reaches beyond the monitor"), open_camera("screen:?region=300,0,64,48"):
        pass
