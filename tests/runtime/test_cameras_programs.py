"""Sources that need a program of the system: GStreamer, an RTSP server, an X display. Skipped where it is missing."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from contracts import xvfb
from contracts.camera_contract import CameraContract

from edgeseg.errors import CameraError, InputError, MissingDependency
from edgeseg.runtime import open_camera
from edgeseg.runtime.cameras.y4m import layouts, to_bgr

SERVER = Path(__file__).parents[1] / "contracts" / "rtsp_server.py"
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
def test_tight_and_padded_planes_hold_the_same_picture(size: tuple[int, int]) -> None:
    pictures = []
    for planes in layouts(*size):
        luma = np.zeros(planes.luma, np.uint8)
        luma[: size[0], : size[1]] = np.arange(size[1])[None] * 3 + 30
        flat = np.concatenate([luma.ravel(), np.full(2 * planes.chroma[0] * planes.chroma[1], 128, np.uint8)])
        assert flat.size == planes.size_bytes
        pictures.append(to_bgr(bytearray(flat.tobytes()), planes)[: size[0] - 1, : size[1] - 1])
    assert all(np.array_equal(pictures[0], picture) for picture in pictures)
    assert pictures[0].std() > 5


class Rtsp:
    """A server process, and how it is started again."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            ["/usr/bin/python3", str(SERVER), str(self.port)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        if self.process.stdout.readline().strip() != "listening":
            self.stop()
            pytest.skip("GStreamer's RTSP server library is not installed")

    def stop(self, how: signal.Signals = signal.SIGKILL) -> None:
        if self.process is not None:
            self.process.send_signal(how)
        if self.process is not None and how is signal.SIGKILL:
            self.process.wait()
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.process = None


@pytest.fixture
def rtsp() -> Iterator[Rtsp]:
    if not Path("/usr/bin/python3").exists():
        pytest.skip("the system has no Python of its own")
    server = Rtsp()
    server.start()
    yield server
    server.stop()


def test_rtsp_gives_frames_and_comes_back_after_a_loss_and_a_stall(rtsp: Rtsp) -> None:
    before = children()
    with open_camera(f"rtsp://127.0.0.1:{rtsp.port}/cam#stall=1") as camera:
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


def test_closing_an_rtsp_camera_does_not_wait_for_its_server(rtsp: Rtsp) -> None:
    with open_camera(f"rtsp://127.0.0.1:{rtsp.port}/cam") as camera:
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
    with pytest.raises(CameraError, match="no monitor 7"), open_camera("screen:7"):
        pass
    with pytest.raises(InputError, match="leaves the monitor"), open_camera("screen:?region=300,0,64,48"):
        pass
