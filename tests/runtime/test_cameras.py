"""Every kind of source against the contract, and live ones against a real stream."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from contracts import tiny_artifact as tiny
from contracts.camera_contract import CameraContract

from edgeseg.errors import CameraError, EdgesegError, InputError, UnknownName
from edgeseg.runtime import open_camera
from edgeseg.runtime.cameras import stream
from edgeseg.runtime.cameras.newest import Newest

SENT_FPS = 50


def write_clip(path: Path, *, frames: int = 12, size: tuple[int, int] = (96, 128)) -> Path:
    """Write a video whose frames tell their own number by their brightness."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (size[1], size[0]))
    for number in range(frames):
        writer.write(np.full((*size, 3), number_to_grey(number), np.uint8))
    writer.release()
    return path


def number_to_grey(number: int) -> int:
    return 10 + 4 * (number % 60)


def grey_to_number(image: np.ndarray) -> int:
    return round((float(image.mean()) - 10) / 4)


class Numbered(http.server.BaseHTTPRequestHandler):
    """Sends numbered JPEGs as a camera does; /stall stops after 5 frames and keeps the line open, /short hangs up."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        start_s = time.monotonic()
        for number in range(60 if self.path == "/cam" else 5):
            _, jpeg = cv2.imencode(".jpg", np.full((96, 128, 3), number_to_grey(number), np.uint8))
            head = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(jpeg)
            try:
                self.wfile.write(head + jpeg.tobytes() + b"\r\n")
                self.wfile.flush()
            except OSError:
                return
            time.sleep(max(0.0, start_s + (number + 1) / SENT_FPS - time.monotonic()))
        if self.path == "/stall":
            self.server.released.wait(20)  # type: ignore[attr-defined]

    def log_message(self, *_: object) -> None:
        return None


@pytest.fixture
def server() -> Iterator[str]:
    found = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Numbered)
    found.daemon_threads = True
    found.released = threading.Event()  # type: ignore[attr-defined]
    thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{found.server_address[1]}"
    found.released.set()  # type: ignore[attr-defined]
    found.shutdown()
    found.server_close()
    thread.join()


class TestSynthetic(CameraContract):
    def uri(self, folder: Path) -> str:
        return "synthetic:5"


class TestLiveSynthetic(CameraContract):
    def uri(self, folder: Path) -> str:
        return "synthetic:5?live=1"


class TestVideoFile(CameraContract):
    def uri(self, folder: Path) -> str:
        return str(write_clip(folder / "clip.avi"))


class TestPictureFolder(CameraContract):
    def uri(self, folder: Path) -> str:
        for number in range(4):
            cv2.imwrite(str(folder / f"{number}.png"), tiny.picture(seed=number))
        return str(folder)


class TestStream(CameraContract):
    @pytest.fixture
    def source(self, server: str) -> str:
        return f"{server}/cam"


def test_a_file_gives_every_frame_to_a_slow_reader(tmp_path: Path) -> None:
    numbers = []
    with open_camera(write_clip(tmp_path / "clip.avi")) as camera:
        assert camera.fps == 25
        for frame in camera.frames():
            numbers.append(grey_to_number(frame.image))
            time.sleep(0.01)
    assert numbers == list(range(12))


def test_a_slow_reader_of_a_stream_gets_fresh_frames_and_the_count_of_those_passed_over(server: str) -> None:
    with open_camera(f"{server}/cam") as camera:
        assert camera.live
        seen, ages_s = [], []
        for frame in camera.frames():
            ages_s.append(time.monotonic() - frame.captured_s)
            seen.append((frame.index, grey_to_number(frame.image)))
            time.sleep(0.1)
            if len(seen) == 6:
                break
        skipped = camera.skipped
    # What is shown, what is counted as skipped and what the sender numbered tell the same story.
    assert seen[-1][0] - seen[0][0] + 1 - len(seen) <= skipped
    assert skipped > 0
    # FFMPEG keeps the first frame or two for finding out what it reads; after that none is lost without being counted.
    assert len({number - index for index, number in seen}) == 1
    assert sorted(ages_s)[len(ages_s) // 2] < 0.1


def test_a_stream_that_hangs_up_is_an_error(server: str) -> None:
    with open_camera(f"{server}/short") as camera, pytest.raises(CameraError, match="stopped giving frames"):
        for _ in camera.frames():
            pass


def test_a_stream_that_stalls_is_an_error_in_bounded_time(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "STALL_S", 1.0)
    start_s = time.monotonic()
    with open_camera(f"{server}/stall") as camera, pytest.raises(CameraError, match=r"no frame for|stopped giving"):
        for _ in camera.frames():
            pass
    assert time.monotonic() - start_s < 10


def test_a_driver_that_fails_is_heard_where_frames_are_asked_for() -> None:
    def read() -> None:
        raise CameraError("the cable was pulled")

    newest = Newest(read, release=lambda: None, name="x")
    newest.start()
    with pytest.raises(CameraError, match="cable"):
        next(newest.frames())
    newest.close()


def test_closing_wakes_a_reader_that_waits() -> None:
    gate = threading.Event()

    def read() -> None:
        gate.wait(5)

    newest = Newest(read, release=lambda: None, name="x")
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


def test_live_synthetic_counts_what_nobody_took() -> None:
    with open_camera("synthetic:1?live=1", size=(32, 32), fps=500) as camera:
        frames = camera.frames()
        next(frames)
        deadline_s = time.monotonic() + 20
        while camera.skipped < 2 and time.monotonic() < deadline_s:
            time.sleep(0.02)
        assert next(frames).index >= 2
        assert camera.skipped >= 2


@pytest.mark.parametrize(
    ("uri", "kind", "words"),
    [
        ("97", CameraError, "No camera at index 97"),
        ("v4l2:/dev/video97", CameraError, "does not exist"),
        ("v4l2:front", InputError, "v4l2:/dev/video0"),
        ("syntetic", UnknownName, 'Did you mean "synthetic"'),
        ("rstp://camera/1", UnknownName, 'Did you mean "rtsp"'),
        ("rtsp:camera", InputError, "names no host"),
        ("rtsp://me:secret@127.0.0.1:1/x", CameraError, "rtsp://127.0.0.1:1/x: does not open"),
        ("http://127.0.0.1:1/x", CameraError, "does not open as a video stream"),
        ("clip.mp4", InputError, "no such file"),
        ("synthetic:first", InputError, "synthetic:SEED"),
        ("synthetic?liv=1", UnknownName, 'Did you mean "live"'),
    ],
)
def test_a_source_that_does_not_open_ends_with_one_line(
    uri: str, kind: type[EdgesegError], words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(kind) as caught, open_camera(uri):
        pass
    assert words in str(caught.value)
    assert "secret" not in str(caught.value)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("content", [b"", b"these are no pictures", None], ids=["empty", "text", "cut"])
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes | None, capfd: pytest.CaptureFixture[str]) -> None:
    path = write_clip(tmp_path / "clip.avi")
    path.write_bytes(path.read_bytes()[:900] if content is None else content)
    with pytest.raises(CameraError, match=r"clip\.avi"), open_camera(path) as camera:
        list(camera.frames())
    assert capfd.readouterr().err == ""


def test_folders_without_pictures_and_damaged_pictures_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no picture"):
        open_camera(tmp_path)
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(CameraError, match=r"a\.png"), open_camera(tmp_path) as camera:
        next(camera.frames())
