"""What goes wrong with live sources, done to real processes and sockets: nothing hangs, nothing is left behind."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from itertools import islice
from typing import TYPE_CHECKING

import cv2
import pytest
from contracts import tiny_artifact as tiny
from contracts.mjpeg_server import MjpegServer, number_in

from edgeseg.errors import CameraError
from edgeseg.runtime import LabelFolder, load, open_camera, run
from edgeseg.runtime.cameras.feed import GIVE_UP_S, OPEN_S
from edgeseg.runtime.cameras.multipart import Parts
from edgeseg.runtime.cameras.newest import Newest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from edgeseg.core.protocols import Camera, CameraCounts, Frame
    from edgeseg.runtime.cameras.feed import CameraImage


@pytest.fixture(scope="module")
def server() -> Iterator[MjpegServer]:
    with MjpegServer(fps=50) as found:
        yield found


@pytest.fixture(autouse=True)
def _nothing_stays() -> Iterator[None]:
    threads, files = threading.active_count(), open_files()
    yield
    assert threading.active_count() <= threads
    assert open_files() <= files


def open_files() -> int:
    folder = "/proc/self/fd"
    return len(os.listdir(folder)) if os.path.isdir(folder) else 0  # noqa: PTH112, PTH208


def balanced(counts: CameraCounts) -> bool:
    return counts.captured == counts.delivered + counts.skipped + counts.corrupt + counts.waiting


def take(camera: Camera, count: int) -> list[Frame]:
    return list(islice(camera.frames(), count))


def wait_until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_a_slow_reader_gets_fresh_frames_and_the_count_of_those_passed_over(server: MjpegServer) -> None:
    numbers, ages_s, indices = [], [], []
    with open_camera(server.uri()) as camera:
        for frame in islice(camera.frames(), 20):
            time.sleep(0.1)
            number = number_in(frame.image)
            assert number is not None
            numbers.append(number)
            indices.append(frame.index)
            ages_s.append(server.age_s(number))
        counts = camera.counts
        assert balanced(counts)
    # The age when the reader is done with a frame: 0.1 s for its work, 0.02 s for the wait until the next frame.
    assert sorted(ages_s)[17] <= 0.25
    # What the sender numbered, what was shown and what is counted as skipped tell the same story.
    assert numbers[-1] - numbers[0] == indices[-1] - indices[0]
    assert counts.delivered == 20
    assert counts.captured >= indices[-1] + 1
    assert counts.skipped >= numbers[-1] - numbers[0] + 1 - 20
    closed = camera.counts
    assert closed.captured == closed.delivered + closed.skipped + closed.corrupt


def test_a_killed_server_that_comes_back_goes_on_with_its_newest_frame() -> None:
    with MjpegServer(fps=50) as server, open_camera(server.uri()) as camera:
        frames = camera.frames()
        before = [number_in(next(frames).image) for _ in range(3)]
        server.kill()
        wait_until(lambda: camera.trouble != "")
        assert "Reconnecting" in camera.trouble
        time.sleep(0.8)
        server.start()
        wait_until(lambda: camera.trouble == "")
        *_, after = (number_in(next(frames).image) for _ in range(2))  # the first one may be from before
        assert before[-1] is not None
        assert after is not None
        assert after > before[-1] + 30
        assert camera.counts.reconnects == 1
        assert balanced(camera.counts)


def test_a_server_that_stays_away_is_given_up_in_the_stated_time() -> None:
    with MjpegServer(fps=50) as server, open_camera(server.uri(), reconnect_s=1.0) as camera:
        take(camera, 2)
        server.kill()
        start_s = time.monotonic()
        with pytest.raises(CameraError, match=r"connection refused.*reconnect \d times.*giving up"):
            take(camera, 1000)
        assert 0.5 < time.monotonic() - start_s < 20


def test_without_reconnection_the_first_loss_is_the_end(server: MjpegServer) -> None:
    with open_camera(server.uri("/hangup?after=5"), reconnect_s=0) as camera:
        with pytest.raises(CameraError, match="stopped sending frames"):
            take(camera, 1000)
        assert camera.counts.captured == 5


@pytest.mark.parametrize("path", ["/stall?after=5", "/drip?after=5"])
def test_a_stall_is_noticed_and_the_line_made_anew(server: MjpegServer, path: str) -> None:
    with open_camera(server.uri(f"{path}#stall=0.5")) as camera:
        while camera.counts.reconnects < 1 or camera.counts.captured < 7:
            next(camera.frames())
    with open_camera(server.uri(f"{path}#stall=0.5&reconnect=0")) as camera:
        start_s = time.monotonic()
        with pytest.raises(CameraError, match=r"no image for 0\.5 s"):
            take(camera, 1000)
        assert time.monotonic() - start_s < 5


def test_damaged_images_are_passed_over_and_counted(server: MjpegServer, capfd: pytest.CaptureFixture[str]) -> None:
    with open_camera(server.uri("/corrupt?every=3")) as camera:
        frames = take(camera, 12)
        counts = camera.counts
    assert all(number_in(frame.image) is not None for frame in frames)
    assert 4 <= counts.corrupt <= counts.captured / 3 + 1
    assert balanced(counts)
    assert counts.reconnects == 0
    assert capfd.readouterr().err == ""


def test_an_image_that_opencv_refuses_is_passed_over(server: MjpegServer, monkeypatch: pytest.MonkeyPatch) -> None:
    decode, calls = cv2.imdecode, itertools.count()

    def refuse(*arguments: object) -> object:
        if next(calls) % 3 == 1:
            raise cv2.error("a size that it does not take")
        return decode(*arguments)  # type: ignore[call-overload]

    monkeypatch.setattr(cv2, "imdecode", refuse)
    with open_camera(server.uri()) as camera:
        take(camera, 6)
        counts = camera.counts
    assert counts.corrupt >= 1
    assert balanced(counts)
    assert counts.reconnects == 0


def test_a_wrong_length_costs_its_own_image_only(server: MjpegServer) -> None:
    with open_camera(server.uri("/badlength")) as camera:
        frames = take(camera, 12)
        counts = camera.counts
    numbers = [number_in(frame.image) for frame in frames]
    assert None not in numbers
    assert counts.reconnects == 0
    assert counts.corrupt <= counts.captured / 3 + 1


def test_nothing_but_damaged_images_is_an_error(server: MjpegServer) -> None:
    camera = open_camera(server.uri("/garbage#stall=0.3&reconnect=0.5"))
    with camera, pytest.raises(CameraError, match="only damaged images"):
        take(camera, 1)


def test_a_change_of_size_is_passed_on_unless_a_size_was_asked_for(server: MjpegServer) -> None:
    with open_camera(server.uri("/resize?after=5")) as camera:
        sizes = [frame.image.shape[:2] for frame in take(camera, 12)]
    assert sizes[0] == (240, 320)
    assert sizes[-1] == (120, 160)
    with open_camera(server.uri("/resize?after=5"), size=(96, 128)) as camera:
        assert {frame.image.shape[:2] for frame in take(camera, 12)} == {(96, 128)}


def test_the_loop_follows_a_change_of_size(server: MjpegServer, tmp_path: Path) -> None:
    artifact = tiny.make_artifact(tmp_path / "artifact").folder
    with load(artifact, threads=1) as session, open_camera(server.uri("/resize?after=5")) as camera:
        result = run(session, camera, sinks=(LabelFolder(tmp_path / "labels"),), frames=12)
    sizes = {cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).shape for path in (tmp_path / "labels").glob("*.png")}
    assert result.frames == 12
    assert sizes == {(240, 320), (120, 160)}


def test_stop_ends_a_reader_amid_a_reconnection() -> None:
    with MjpegServer(fps=50) as server, open_camera(server.uri()) as camera:
        take(camera, 1)
        server.kill()
        stopper = threading.Timer(0.7, camera.stop)
        stopper.start()
        start_s = time.monotonic()
        take(camera, 1000)
        assert time.monotonic() - start_s < GIVE_UP_S / 2
        stopper.join()


def test_ctrl_c_ends_a_program_whose_camera_accepts_and_never_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        program = f"from edgeseg.runtime import open_camera\nwith open_camera('http://127.0.0.1:{port}/x'): pass"
        child = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True)
        silent.settimeout(60)
        line, _ = silent.accept()
        with line:
            child.send_signal(signal.SIGINT)
            start_s = time.monotonic()
            _, said = child.communicate(timeout=60)
        assert time.monotonic() - start_s < OPEN_S
        assert "KeyboardInterrupt" in said


LOOK = """
import sys
from edgeseg.runtime import open_camera
try:
    with open_camera(sys.argv[1]) as camera:
        for frame in camera.frames():
            print("frame", flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_ctrl_c_ends_a_program_at_once_while_it_connects_again() -> None:
    with MjpegServer(fps=50) as server:
        child = subprocess.Popen([sys.executable, "-c", LOOK, server.uri()], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        assert child.stdout.readline() == "frame\n"
        server.kill()
        time.sleep(0.5)
        child.send_signal(signal.SIGINT)
        start_s = time.monotonic()
        said, _ = child.communicate(timeout=60)
    assert time.monotonic() - start_s < GIVE_UP_S / 2
    assert said.endswith("interrupted\n")
    assert child.returncode == 0


class Scripted:
    """A feed that the test writes, for what no server can do."""

    fps = None

    def __init__(self, *, gate: threading.Event | None = None, fault: Exception | None = None) -> None:
        self.closed = 0
        self._gate = gate
        self._fault = fault

    def open(self) -> None:
        return None

    def read(self) -> CameraImage | None:
        if self._gate is not None:
            self._gate.wait(5)
        raise self._fault or CameraError("the cable was pulled")

    def interrupt(self) -> None:
        return None

    def close(self) -> None:
        self.closed += 1


def test_a_driver_that_fails_unexpectedly_is_heard_where_frames_are_asked_for() -> None:
    feed = Scripted(fault=ZeroDivisionError("in the driver"))
    newest = Newest(lambda: feed, name="x")
    newest.start()
    with pytest.raises(ZeroDivisionError, match="driver"):
        next(newest.frames())
    newest.close()
    assert feed.closed >= 1


def test_closing_wakes_a_reader_that_waits_for_a_driver_that_hangs() -> None:
    gate = threading.Event()
    newest = Newest(lambda: Scripted(gate=gate), name="x")
    newest.start()
    got: list[int] = []
    reader = threading.Thread(target=lambda: got.append(len(list(newest.frames()))))
    reader.start()
    closer = threading.Thread(target=newest.close)
    closer.start()
    reader.join(timeout=3)
    gate.set()
    closer.join(timeout=3)
    assert got == [0]


def test_parts_come_out_the_same_however_the_bytes_arrive() -> None:
    bodies = [b"\xff\xd8abc\xff\xd9", b"x" * 300, b"\xff\xd8\xff\xd9"]
    stream = b"preamble\r\n" + b"".join(
        b"--b\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b\r\n" % (len(body), body) for body in bodies
    )
    for step in (1, 2, 7, 50, len(stream)):
        parts = Parts(b"--b")
        found = [body for at in range(0, len(stream), step) for body in parts.feed(stream[at : at + step])]
        assert found == bodies
