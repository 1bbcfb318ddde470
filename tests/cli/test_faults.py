"""What a user breaks or mistypes ends with one clear line and status 1, through the real command line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from contracts import tiny_artifact as tiny

from edgeseg.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    tiny.make_artifact(tmp_path / "artifact", file_format="onnx")
    return tmp_path / "artifact"


def truncate(folder: Path) -> None:
    path = folder / "model.onnx"
    path.write_bytes(path.read_bytes()[:-7])


def flip_a_byte(folder: Path) -> None:
    path = folder / "model.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def remove_a_file(folder: Path) -> None:
    (folder / "golden" / "expected.png").unlink()


def alter_the_manifest(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"ignore_index": 255', '"ignore_index": 254'))


def cut_the_manifest(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(path.read_text()[:100])


@pytest.mark.parametrize("verb", ["verify", "validate", "run", "bench"])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncate, "truncated"),
        (flip_a_byte, "a byte was changed"),
        (remove_a_file, "missing from the artifact"),
        (alter_the_manifest, "altered"),
        (cut_the_manifest, "The manifest is damaged"),
    ],
)
def test_a_damaged_artifact(
    verb: str, damage: Callable[[Path], None], message: str, artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(artifact)
    assert_one_line([verb, str(artifact), *(["--headless"] if verb == "run" else [])], message, capsys)


def make_dataset(folder: Path, *, label: int) -> Path:
    for part in ("images", "labels"):
        (folder / part / "val").mkdir(parents=True)
    (folder / "classes.txt").write_text("\n".join(tiny.CLASSES) + "\n")
    cv2.imwrite(str(folder / "images" / "val" / "a.png"), tiny.image())
    labels = np.full(tiny.SIZE, label, np.uint8)
    labels[0] = 0
    cv2.imwrite(str(folder / "labels" / "val" / "a.png"), labels)
    return folder


def test_a_label_of_class_200(artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make_dataset(tmp_path / "data", label=200)
    assert_one_line(["validate", str(artifact), "--data", str(data)], "a.png", capsys, "200")


def test_a_good_data_set_is_scored(artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make_dataset(tmp_path / "data", label=1)
    assert main(["validate", str(artifact), "--data", str(data), "--json"]) == 0
    assert '"miou"' in capsys.readouterr().out


def test_an_empty_folder(artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert_one_line(["verify", str(empty)], "no manifest.json", capsys)
    assert_one_line(["validate", str(artifact), "--data", str(empty)], str(empty), capsys)
    assert_one_line(["compare", str(empty)], "no measurement in this folder", capsys)
    assert_one_line(["convert", "--target", "onnx", "--calibration", str(empty)], str(empty), capsys)


def test_no_camera_at_index_0(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if Path("/dev/video0").exists():
        pytest.skip("there is a camera here")
    assert_one_line(["run", str(artifact), "--source", "0", "--headless"], "camera", capsys)


def test_a_source_that_is_not_there(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert_one_line(["run", str(artifact), "--source", "nowhere.mp4", "--headless"], "nowhere.mp4", capsys)


def test_a_damaged_or_truncated_video_is_run_to_its_end_and_is_status_1(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("av", reason="PyAV makes the videos")
    from contracts.videos import break_packets, write_video

    each_decodes_alone = {"g": "1"}
    damaged = break_packets(write_video(tmp_path / "a.mp4", codec_options=each_decodes_alone), (4, 7))
    cut = write_video(tmp_path / "b.mp4", codec_options=each_decodes_alone, container_options={"movflags": "faststart"})
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 6 // 10])
    for clip, fault, frames in (
        (damaged, r"a\.mp4: 2 of its frames are corrupt and were left out\.", "10 frames at"),
        (cut, r"b\.mp4: .*it ended \d frames early\.", r", ended \d frames early"),
    ):
        assert main(["run", str(artifact), "--source", str(clip), "--headless", "--threads", "1"]) == 1
        printed = capsys.readouterr()
        assert re.search(fault, printed.err)
        assert re.search(frames, printed.out)


def test_damaged_images_of_a_folder_are_left_out_and_named(
    artifact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for index in range(5):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.full((40, 60, 3), 40 * index, np.uint8))
    (tmp_path / "1.png").write_bytes(b"")
    whole = (tmp_path / "3.png").read_bytes()
    (tmp_path / "3.png").write_bytes(whole[: len(whole) // 2])
    arguments = ["run", str(artifact), "--source", str(tmp_path), "--headless", "--threads", "1"]
    assert main(arguments) == 1
    printed = capsys.readouterr()
    assert "2 of its frames are corrupt and were left out." in printed.err
    assert printed.err.count("1.png: empty file (0 bytes)") == 1, "named once"
    assert "Also: 3.png." in printed.err
    assert "3 frames at" in printed.out
    for index in (0, 2, 4):
        (tmp_path / f"{index}.png").unlink()
    assert main(arguments) == 1
    assert "1.png: empty file (0 bytes). Copy it again or remove it. Also: 3.png." in capsys.readouterr().err


def test_an_engine_with_a_typo(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert_one_line(["verify", str(artifact), "--engine", "onnxruntme"], 'Did you mean "onnxruntime"?', capsys)


def test_val_images_are_refused_for_calibration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = make_dataset(tmp_path / "data", label=1)
    target = ["convert", "--target", "onnx", "--precision", "int8", "--out", str(tmp_path / "out")]
    assert_one_line([*target, "--calibration", str(data / "images" / "val")], "val", capsys)
    assert not (tmp_path / "out").exists()


def assert_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], *more: str) -> None:
    assert main(arguments) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    lines = printed.err.strip().splitlines()
    assert len(lines) == 1, printed.err
    for part in (message, *more):
        assert part in lines[0]


def test_options_of_the_source_reach_it(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = ["run", str(artifact), "--source", "synthetic", "--headless", "--threads", "1"]
    assert_one_line([*run, "--pixel-format", "MJPEGS"], "FourCC", capsys)
    assert_one_line([*run, "--reconnect", "-1"], "seconds", capsys)
    assert main([*run, "--pixel-format", "MJPG", "--reconnect", "5", "--frames", "1"]) == 0
    out = capsys.readouterr().out
    assert "1 thread," in out
    assert "1 frame at" in out


def test_a_size_on_its_side_is_warned_of(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = ["run", str(artifact), "--source", "synthetic", "--headless", "--threads", "1", "--frames", "1", "--size"]
    convert = ["convert", "fast_scnn:streets-half", "--target", "onnx", "--precision", "fp32", "--dry-run", "--size"]
    for words in (run, convert):
        assert main([*words, "128x192"]) == 0
        assert "orientation" not in capsys.readouterr().err
        assert main([*words, "192x128"]) == 0
        assert "If unintended, give --size 128x192" in capsys.readouterr().err
