"""Every kind of source against the contract, and what a source that does not open says."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from contracts import tiny_artifact as tiny
from contracts.camera_contract import CameraContract
from contracts.mjpeg_server import MjpegServer, image_of, number_in

from edgeseg.errors import CameraError, EdgesegError, InputError, UnknownName
from edgeseg.runtime import open_camera

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def write_clip(path: Path, *, frames: int = 12, size: tuple[int, int] = (96, 128)) -> Path:
    """Write a video whose frames show their own number."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (size[1], size[0]))
    for number in range(frames):
        writer.write(image_of(number, size))
    writer.release()
    return path


@pytest.fixture(scope="module")
def server() -> Iterator[MjpegServer]:
    with MjpegServer(fps=50) as found:
        yield found


class TestSynthetic(CameraContract):
    def uri(self, folder: Path) -> str:
        return "synthetic:5"


class TestLiveSynthetic(CameraContract):
    def uri(self, folder: Path) -> str:
        return "synthetic:5?live=1"


class TestVideoFile(CameraContract):
    def uri(self, folder: Path) -> str:
        return str(write_clip(folder / "clip.avi"))


class TestImageFolder(CameraContract):
    def uri(self, folder: Path) -> str:
        for number in range(4):
            cv2.imwrite(str(folder / f"{number}.png"), tiny.image(seed=number))
        return str(folder)


class TestPattern(CameraContract):
    def uri(self, folder: Path) -> str:
        for number in range(4):
            cv2.imwrite(str(folder / f"{number}.png"), tiny.image(seed=number))
        return str(folder / "*.png")


class TestStream(CameraContract):
    @pytest.fixture
    def source(self, server: MjpegServer) -> str:
        return server.uri()


def test_a_file_gives_every_frame_to_a_slow_reader(tmp_path: Path) -> None:
    numbers = []
    with open_camera(write_clip(tmp_path / "clip.avi")) as camera:
        assert camera.fps == 25
        for frame in camera.frames():
            numbers.append(number_in(frame.image))
            time.sleep(0.01)
    assert numbers == list(range(12))
    assert camera.counts.delivered == camera.counts.captured == 12


def test_a_file_ends_where_it_is_stopped(tmp_path: Path) -> None:
    with open_camera(write_clip(tmp_path / "clip.avi")) as camera:
        frames = camera.frames()
        next(frames)
        camera.stop()
        assert list(frames) == []


def test_a_device_is_no_file() -> None:
    with pytest.raises(InputError, match=r"/dev/null: is a device, not a file\. A camera is --source v4l2:/dev/null"):
        open_camera("/dev/null")


def test_images_come_in_the_order_of_their_numbers_each_at_its_size(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        cv2.imwrite(str(tmp_path / f"frame{number}.png"), np.full((10 + number, 20, 3), number, np.uint8))
    (tmp_path / "frame3.txt").write_text("no image")
    (tmp_path / "._frame1.png").write_bytes(b"what macOS writes beside an image")
    (tmp_path / "frame4.png").mkdir()
    for source in (tmp_path, tmp_path / "frame*", tmp_path / "frame[0-9]*.png", f"file:{tmp_path}/*.png"):
        with open_camera(source) as camera:
            images = [frame.image for frame in camera.frames()]
        assert [int(image[0, 0, 0]) for image in images] == [1, 2, 10]
        assert [image.shape[0] for image in images] == [11, 12, 20]


def test_live_synthetic_counts_what_nobody_took() -> None:
    with open_camera("synthetic:1?live=1", size=(32, 32), fps=500) as camera:
        frames = camera.frames()
        next(frames)
        deadline_s = time.monotonic() + 20
        while camera.skipped < 2 and time.monotonic() < deadline_s:
            time.sleep(0.02)
        assert next(frames).index >= 2
        assert camera.skipped >= 2


def test_options_can_be_written_into_the_source(server: MjpegServer) -> None:
    with open_camera("synthetic:1?live=1&size=40x48&fps=100") as camera:
        assert camera.fps == 100
        assert next(camera.frames()).image.shape == (40, 48, 3)
    with open_camera(server.uri("/cam#size=40x48&reconnect=1")) as camera:
        assert next(camera.frames()).image.shape == (40, 48, 3)


@pytest.mark.parametrize("path", ["/nolength", "/moved"])
def test_streams_are_read_as_cameras_write_them(server: MjpegServer, path: str) -> None:
    with open_camera(server.uri(path)) as camera:
        frames = camera.frames()
        numbers = [number_in(next(frames).image) for _ in range(5)]
    assert None not in numbers
    assert camera.counts.corrupt == 0


def test_a_password_opens_a_stream_and_is_never_shown(server: MjpegServer) -> None:
    with open_camera(server.uri("/login", user="me:secret@")) as camera:
        assert number_in(next(camera.frames()).image) is not None
    with (
        pytest.raises(CameraError, match="user name or password is wrong") as caught,
        open_camera(server.uri("/login", user="me:x9@")),
    ):
        pass
    assert "x9" not in str(caught.value)


def test_a_web_page_is_no_camera(server: MjpegServer, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CameraError, match=r"text/html.*does not open as a video"), open_camera(server.uri("/page")):
        pass
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("uri", "kind", "words"),
    [
        ("97", CameraError, "No camera at index 97"),
        ("v4l2:/dev/video97", CameraError, "does not exist"),
        ("v4l2:/dev/null", CameraError, "is not a V4L2 device"),
        ("v4l2:front", InputError, "v4l2:/dev/video0"),
        ("0?size=big", InputError, "HEIGHTxWIDTH"),
        ("0?sise=48x64", UnknownName, 'Did you mean "size"'),
        ("0?format=motion", InputError, "FourCC"),
        ("0?reconnect=-1", InputError, "seconds"),
        ("syntetic", UnknownName, 'Did you mean "synthetic"'),
        ("rstp://camera/1", UnknownName, 'Did you mean "rtsp"'),
        ("rtsp:camera", InputError, "has no host"),
        ("rtsp://me:secret@127.0.0.1:1/x", CameraError, "rtsp://127.0.0.1:1/x: does not open"),
        ("rtsp://127.0.0.1:1/x#stall=soon", InputError, "stall=5"),
        ("http://127.0.0.1:1/x", CameraError, "does not open as a video stream: connection refused"),
        ("http://127.0.0.1:99999/x", CameraError, "does not open as a video stream"),
        ("clip.mp4", InputError, "no such file"),
        ("nowhere/*.png", InputError, "no image matches"),
        ("synthetic:first", InputError, "synthetic:SEED"),
        ("synthetic?liv=1", UnknownName, 'Did you mean "live"'),
        ("csi://0", EdgesegError, "neither a Jetson nor a Raspberry Pi"),
        ("csi://left", InputError, "csi://0"),
        ("gst:", InputError, "names no pipeline"),
        ("screen:left", InputError, "screen:NUMBER"),
        ("screen:?region=1,2", InputError, "LEFT,TOP,WIDTH,HEIGHT"),
    ],
)
def test_a_source_that_does_not_open_ends_with_one_line(
    uri: str, kind: type[EdgesegError], words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    threads = threading.active_count()
    with pytest.raises(kind) as caught, open_camera(uri):
        pass
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
    assert capfd.readouterr().err == ""
    assert threading.active_count() == threads


@pytest.mark.parametrize("content", [b"", b"these are no images", None], ids=["empty", "text", "cut"])
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes | None, capfd: pytest.CaptureFixture[str]) -> None:
    path = write_clip(tmp_path / "clip.avi")
    path.write_bytes(path.read_bytes()[:900] if content is None else content)
    with pytest.raises(CameraError, match=r"clip\.avi"), open_camera(path) as camera:
        list(camera.frames())
    assert capfd.readouterr().err == ""


def test_folders_without_images_and_damaged_images_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="contains no image"):
        open_camera(tmp_path)
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(CameraError, match=r"a\.png"), open_camera(tmp_path) as camera:
        next(camera.frames())
