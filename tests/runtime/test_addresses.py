"""Addresses of cameras: passwords are understood however they are written, and shown nowhere."""

from __future__ import annotations

import http.server
import struct
import threading
import time
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from contracts.mjpeg_server import image_of, number_in

from edgeseg.cli.main import main
from edgeseg.errors import CameraError, EdgesegError, InputError
from edgeseg.runtime import open_camera
from edgeseg.runtime.cameras import http_feed
from edgeseg.runtime.cameras.address import LOGIN, Address, Login, address_of, redacted, with_login
from edgeseg.runtime.cameras.multipart import damage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.mark.parametrize(
    ("written", "user", "password"),
    [
        ("me:secret", "me", "secret"),
        ("me:se@cret", "me", "se@cret"),
        ("me:se/cret", "me", "se/cret"),
        ("me:s?e#cret", "me", "s?e#cret"),
        ("me:se%40cr%2Fet", "me", "se@cr/et"),
        ("m%3Ae:se%25cret", "m:e", "se%cret"),
        ("me:", "me", ""),
    ],
)
def test_passwords_are_parsed_and_hidden(written: str, user: str, password: str) -> None:
    uri = f"rtsp://{written}@camera:554/live"
    address = address_of(uri)
    assert address == Address(uri="rtsp://camera:554/live", login=Login(user=user, password=password))
    assert address_of(address.full()) == address
    assert redacted(f"Reading {uri} now") == "Reading rtsp://camera:554/live now"


@pytest.mark.parametrize(
    "uri", ["http://camera/a@b", "http://camera:80/x", "http://[::1]:8080/x", "rtsp://camera/x?channel=1"]
)
def test_addresses_without_a_password_stay_as_they_are(uri: str) -> None:
    assert address_of(uri) == Address(uri=uri)
    assert redacted(uri) == uri


@pytest.mark.parametrize(
    "text",
    [
        "rtsp://c/x?user=me&password=hush1",
        "http://c/x?token=hush1#stall=5",
        "gst:rtspsrc location=rtsp://c/x user-id=me user-pw=hush1 ! decodebin",
        "rtsp://me:12/hush1@c/x",
    ],
)
def test_secrets_elsewhere_are_hidden(text: str) -> None:
    assert "hush1" not in redacted(text)


@pytest.mark.parametrize(
    "uri",
    [
        "rtsp://me:hush1@",
        "rtsp://me:h#hush1@127.0.0.1:1/x",
        "rtsp://me:h/hush1@127.0.0.1:1/x#stal=1",
        "http://me:h@hush1@127.0.0.1:1/x",
        "rtps://me:hush1@camera/x",
        "http://127.0.0.1:1/x?password=hush1",
        "rtsp://me:p@hush1/word@127.0.0.1:1/cam",
    ],
)
def test_no_error_shows_a_password(uri: str) -> None:
    with pytest.raises(EdgesegError) as caught, open_camera(uri):
        pass
    assert "hush1" not in str(caught.value)


def test_a_redirect_takes_the_password_along_on_the_same_host_only() -> None:
    address = address_of("http://me:secret@camera/x")
    assert address.moved("http://camera:8080/y") == Address(uri="http://camera:8080/y", login=address.login)
    assert address.moved("http://elsewhere/y") == Address(uri="http://elsewhere/y")


def test_a_login_comes_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Address(uri="http://camera/x")
    monkeypatch.setenv(LOGIN, "me:from:environment")
    assert with_login(plain, file=None).login == Login(user="me", password="from:environment")
    (tmp_path / "login").write_text("you:from%file\n")
    assert with_login(plain, file=str(tmp_path / "login")).login == Login(user="you", password="from%file")
    (tmp_path / "login").write_text("nothing")
    with pytest.raises(InputError, match="USER:PASSWORD"):
        with_login(plain, file=str(tmp_path / "login"))


@pytest.mark.parametrize(
    ("source", "warned"),
    [
        ("rtsp://me:hush1@127.0.0.1:1/cam", True),
        ("rtsp://me:hu/sh@1@127.0.0.1:1/cam", True),
        ("http://127.0.0.1:1/video?password=hush1", True),
        ("rtsp://me@127.0.0.1:1/cam", False),
        ("rtsp://127.0.0.1:1/cam#login=FILE", False),
        ("clip@home:1.mp4", False),
    ],
)
def test_a_password_on_the_command_line_is_warned_of(
    source: str, warned: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["run", str(tmp_path / "none"), "--source", source, "--headless"])
    said = capsys.readouterr().err
    assert ("EDGESEG_CAMERA_LOGIN=USER:PASSWORD" in said) is warned
    assert "hush1" not in said


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers as the path says: a dripping head, a redirect elsewhere, a file, playlists."""

    files: dict[str, bytes] = {}  # noqa: RUF012 - each test sets its own

    def do_GET(self) -> None:
        if self.path == "/drip":
            try:
                for _ in range(200):
                    self.wfile.write(b"HTTP/1.1 200 OK\r\nX-A: b\r\n"[:1])
                    time.sleep(0.05)
            except OSError:
                return
        elif self.path == "/local":
            self.send_response(302)
            self.send_header("Location", "file:///etc/passwd")
            self.end_headers()
        else:
            content = self.files[self.path]
            self.send_response(200)
            self.send_header("Content-Type", "application/vnd.apple.mpegurl" if "m3u8" in self.path else "video/mp4")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        return None


@pytest.fixture
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.daemon_threads = True
        thread = threading.Thread(target=running.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


def test_a_server_that_drips_has_one_deadline(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_feed, "OPEN_S", 0.5)
    started_s = time.monotonic()
    with pytest.raises(CameraError, match="no response within"), open_camera(f"{server}/drip"):
        pass
    assert time.monotonic() - started_s < 5


def test_a_redirect_to_another_scheme_is_refused(server: str) -> None:
    with pytest.raises(CameraError, match="redirects to file:///etc/passwd"), open_camera(f"{server}/local"):
        pass


def test_a_file_on_a_server_is_no_live_source(server: str, tmp_path: Path) -> None:
    pytest.importorskip("av", reason="PyAV makes the video")
    from contracts.videos import write_video

    Handler.files = {"/clip.mp4": write_video(tmp_path / "clip.mp4", frames=9).read_bytes()}
    with open_camera(f"{server}/clip.mp4") as camera:
        assert not camera.live
        assert [number_in(frame.image) for frame in camera.frames()] == list(range(9))


def test_a_playlist_with_an_end_is_read_whole(server: str, tmp_path: Path) -> None:
    pytest.importorskip("av", reason="PyAV makes the video")
    from contracts.videos import write_video

    part = write_video(tmp_path / "part.ts", frames=9).read_bytes()
    head = b"#EXTM3U\n#EXT-X-VERSION:3\n"
    Handler.files = {
        "/part.ts": part,
        "/all.m3u8": head + b"#EXT-X-STREAM-INF:BANDWIDTH=1000000\nlist.m3u8\n",
        "/list.m3u8": head + b"#EXT-X-TARGETDURATION:1\n#EXTINF:0.36,\npart.ts\n#EXT-X-ENDLIST\n",
    }
    with open_camera(f"{server}/all.m3u8") as camera:
        assert not camera.live
        assert [number_in(frame.image) for frame in camera.frames()] == list(range(9))


def test_a_jpeg_that_decoders_would_fill_with_grey_is_damaged() -> None:
    jpeg = cv2.imencode(".jpg", image_of(1))[1].tobytes()
    for length in (2, 20, len(jpeg) // 2, len(jpeg) - 2):
        assert damage(jpeg[:length]) == "is cut off"
    assert damage(b"GIF89a") == "is not a JPEG"
    scan = jpeg.index(b"\xff\xda") + 40
    place = next(at for at in range(scan, len(jpeg)) if jpeg[at - 1] != 0xFF)
    assert "restart marker" in damage(jpeg[:place] + b"\xff\xd3" + jpeg[place:])


def test_a_jpeg_that_claims_gigabytes_is_corrupt_before_it_is_decoded() -> None:
    jpeg = bytearray(cv2.imencode(".jpg", image_of(1))[1].tobytes())
    assert damage(bytes(jpeg)) == ""
    place = jpeg.index(b"\xff\xc0") + 5
    struct.pack_into(">HH", jpeg, place, 30_000, 30_000)
    assert "30000x30000" in damage(bytes(jpeg))
    assert np.frombuffer(bytes(jpeg), np.uint8).size < 1 << 20
