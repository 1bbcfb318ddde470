"""`edgeseg cameras`, and what boards and devices that are not here would be told."""

from __future__ import annotations

import json
import os
import struct
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING

import pytest

from edgeseg.cli.main import main
from edgeseg.core import registry
from edgeseg.errors import MissingDependency
from edgeseg.runtime import open_camera
from edgeseg.runtime.cameras import Request, csi, list_cameras, v4l2_devices

if TYPE_CHECKING:
    from pathlib import Path


def test_the_list_holds_every_kind_with_a_reason_where_it_does_not_work(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cameras", "--json"]) == 0
    kinds = {kind["name"]: kind["status"] for kind in json.loads(capsys.readouterr().out)["kinds"]}
    assert set(kinds) == set(registry.names("cameras"))
    assert kinds["synthetic"]["works"]
    assert kinds["file"]["works"]
    for status in kinds.values():
        assert status["uris"]
        assert status["detail"]
    assert main(["cameras"]) == 0
    assert "synthetic:SEED?live=1" in capsys.readouterr().out


def test_a_broken_plug_in_is_listed_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = registry.Plugin(name="thermal", value=None, fault="ImportError: libthermal")
    monkeypatch.setattr(registry, "load_all", lambda group: (broken,))
    (kind,) = list_cameras().kinds
    assert not kind.status.works
    assert "libthermal" in kind.status.detail


@pytest.mark.parametrize(
    ("model", "words"),
    [("Raspberry Pi 5 Model B", "apt install python3-picamera2"), ("NVIDIA Jetson Orin Nano", "nvidia-l4t-gstreamer")],
)
def test_a_board_without_its_library_is_told_what_to_install(
    model: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model").write_text(model)
    monkeypatch.setattr(csi, "MODEL", tmp_path / "model")
    with pytest.raises(MissingDependency, match=words):
        open_camera("csi://0")
    status = csi.CAMERA.status()
    assert not status.works
    assert words in status.fix


def test_a_jetson_is_asked_for_the_wished_size_and_rate() -> None:
    pipeline = csi.argus_pipeline(1, Request(uri="csi://1", rest="//1", size=(720, 1280), fps=60))
    assert pipeline.startswith("nvarguscamerasrc sensor-id=1 ! video/x-raw(memory:NVMM),width=1280,height=720")
    assert "framerate=60/1" in pipeline


def test_a_node_that_is_no_camera_is_listed_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "video0").write_bytes(b"")
    (found,) = v4l2_devices.devices(sysfs=tmp_path, dev=tmp_path)
    assert "is not a V4L2 device" in found.fault


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may open everything")
def test_a_device_without_the_right_to_open_it_names_the_group(tmp_path: Path) -> None:
    (tmp_path / "video0").touch(mode=0)
    (found,) = v4l2_devices.devices(sysfs=tmp_path, dev=tmp_path)
    assert "usermod -aG video" in found.fix


def test_formats_and_sizes_are_read_from_the_kernels_structures(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Answers laid out as in linux/videodev2.h stand in for a driver, which no test machine has."""

    def answer(_: int, request: tuple[int, int], filled: bytes) -> bytes:
        size = request[1]
        if request == v4l2_devices.QUERYCAP:
            text = struct.pack("=16s32s32sIII", b"uvcvideo", b"Cam", b"usb", 0, 0x80000000, 0x1)
            return text.ljust(size, b"\0")
        index, code = struct.unpack("=II", filled)
        if request == v4l2_devices.ENUM_FMT and index < 1:
            return struct.pack("=III32s4s", 0, 1, 0, b"Motion-JPEG", b"MJPG").ljust(size, b"\0")
        if request == v4l2_devices.ENUM_FRAMESIZES and index < 2 and code == int.from_bytes(b"MJPG", "little"):
            return struct.pack("=IIIII", index, code, 1, (640, 1280)[index], (480, 720)[index]).ljust(size, b"\0")
        raise OSError(22, "end of list")

    monkeypatch.setattr(v4l2_devices, "_ask", answer)
    (tmp_path / "video0").touch()
    found = v4l2_devices.describe_v4l2(tmp_path / "video0", title="x")
    assert found is not None
    assert (found.name, found.driver) == ("Cam", "uvcvideo")
    assert found.formats == (
        v4l2_devices.PixelFormat(code="MJPG", description="Motion-JPEG", sizes=((480, 640), (720, 1280))),
    )


def test_the_source_of_a_broken_plug_in_is_refused_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint(name="thermal", value="no_such_driver_anywhere:CAMERA", group="edgeseg.cameras")
    points = registry._points("cameras")
    monkeypatch.setattr(registry, "_points", lambda _group: {**points, "thermal": point})
    with pytest.raises(MissingDependency, match=r'"thermal" cannot be loaded.*no_such_driver_anywhere'):
        open_camera("thermal://0")
