"""RTSP cameras: over TCP, over UDP, and with a password; never an endless wait."""

from __future__ import annotations

import contextlib
import socket
import sys
import time
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from contracts.mjpeg_server import number_in
from contracts.rtsp_plain import RtspServer

from edgeseg.errors import CameraError
from edgeseg.runtime import open_camera
from edgeseg.runtime.cameras import http_camera

if TYPE_CHECKING:
    from edgeseg.core.protocols import Camera


def numbers_of(camera: Camera, count: int) -> list[int | None]:
    """Return the numbers that the camera's next `count` images show."""
    return [number_in(frame.image) for frame in islice(camera.frames(), count)]


@pytest.mark.parametrize(
    ("transports", "used"), [(("tcp", "udp"), "tcp"), (("tcp",), "tcp"), (("udp",), "udp")], ids=["both", "tcp", "udp"]
)
def test_a_camera_is_read_over_the_transport_it_grants(transports: tuple[str, ...], used: str) -> None:
    with RtspServer(transports=transports) as server, open_camera(server.uri()) as camera:
        numbers = numbers_of(camera, 8)
    assert server.used[-1] == used
    assert None not in numbers
    assert len(set(numbers)) == 8


def test_a_password_with_reserved_characters_opens_the_camera() -> None:
    with RtspServer(login=True) as server, open_camera(server.uri(user="admin:p%40ss%2Fword@")) as camera:
        assert numbers_of(camera, 1) != [None]


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_the_readers_command_line_does_not_show_the_password() -> None:
    with RtspServer(login=True) as server, open_camera(server.uri(user="admin:p%40ss%2Fword@")) as camera:
        numbers_of(camera, 1)
        shown = b""
        for place in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):  # a process that has just ended
                shown += place.read_bytes()
    assert b"ffmpeg_child" in shown
    assert b"p%40ss" not in shown
    assert b"p@ss" not in shown


@pytest.mark.parametrize("user", ["", "admin:hush1@"], ids=["none", "wrong"])
def test_a_wrong_password_is_one_line_without_it(user: str) -> None:
    begin_s = time.monotonic()
    with (
        RtspServer(login=True) as server,
        pytest.raises(CameraError, match="password") as caught,
        open_camera(server.uri(user=user)) as camera,
    ):
        numbers_of(camera, 1)
    assert "hush1" not in str(caught.value)
    assert time.monotonic() - begin_s < 15


def test_a_camera_that_accepts_and_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_camera, "OPEN_S", 0.5)
    begin_s = time.monotonic()
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(CameraError, match=r"no response within 0\.5 s|no image for"),
        open_camera(f"rtsp://127.0.0.1:{silent.getsockname()[1]}/x"),
    ):
        pass
    assert time.monotonic() - begin_s < 30
