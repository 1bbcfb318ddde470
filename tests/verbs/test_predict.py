"""`edgeseg predict`: what it writes, what it leaves alone, and how it goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from contracts import tiny_artifact as tiny

from edgeseg.cli.main import main
from edgeseg.data.image_globs import find_images
from edgeseg.errors import InputError
from edgeseg.runtime import load
from edgeseg.runtime.sinks.label_files import write_labels
from edgeseg.verbs.predict import predict

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make_artifact(tmp_path_factory.mktemp("tiny") / "a", file_format="onnx").folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images = tmp_path / "images"
    (images / "below").mkdir(parents=True)
    for name, seed in (("one.png", 1), ("two.jpg", 2), ("two.png", 3), ("below/one.png", 4)):
        cv2.imwrite(str(images / name), tiny.image((100, 150), seed=seed))
    (images / "notes.txt").write_text("not an image")
    return images


def test_labels_are_written_exactly_and_the_summary_tells_of_them(artifact: Path, folder: Path, tmp_path: Path) -> None:
    found = predict(artifact, [str(folder)], out=tmp_path / "out", overlay=True, threads=1)
    assert [item.labels for item in found.images] == ["labels/one.png", "labels/two.jpg.png", "labels/two.png.png"]
    with load(artifact, threads=1) as session:
        wanted = session.segment(cv2.imread(str(folder / "one.png")))
    assert np.array_equal(cv2.imread(str(tmp_path / "out/labels/one.png"), cv2.IMREAD_UNCHANGED), wanted)
    assert cv2.imread(str(tmp_path / "out/overlays/one.png")).shape == (100, 150, 3)
    stored = json.loads((tmp_path / "out/predictions.json").read_text())
    assert stored["images"][0]["share"][tiny.CLASSES[wanted[0, 0]]] > 0
    assert stored["settings"]["tile"] == "off"


def test_an_unreadable_image_is_named_and_the_others_go_on(
    artifact: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (folder / "one.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    arguments = ["predict", str(artifact), str(folder), "--out", str(tmp_path / "out"), "--tile", "auto", "--json"]
    assert main(arguments) == 1
    printed = capsys.readouterr()
    assert len(printed.err.strip().splitlines()) == 1
    assert "cut.png: truncated PNG" in printed.err
    answer = json.loads(printed.out)
    assert len(answer["images"]) == 3
    assert answer["images"][0]["seams"]["disagreement"] < 0.01


def test_resume_does_what_is_missing_or_changed_and_no_more(artifact: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict(artifact, [str(folder)], out=out, threads=1)
    before = {path: path.stat().st_mtime_ns for path in (out / "labels").iterdir()}
    (out / "labels/two.jpg.png").unlink()
    later = time.time() + 10
    os.utime(folder / "two.png", (later, later))
    found = predict(artifact, [str(folder)], out=out, resume=True, threads=1)
    assert (found.resumed, len(found.images)) == (1, 3)
    assert (out / "labels/one.png").stat().st_mtime_ns == before[out / "labels/one.png"]
    assert (out / "labels/two.png.png").stat().st_mtime_ns > before[out / "labels/two.png.png"]
    with pytest.raises(InputError, match="was made with overlay False"):
        predict(artifact, [str(folder)], out=out, resume=True, overlay=True, threads=1)


def test_a_resume_that_is_killed_at_once_loses_nothing(
    artifact: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    predict(artifact, [str(folder)], out=out, threads=1)

    def killed(*_: object) -> None:
        raise SystemExit

    monkeypatch.setattr("edgeseg.verbs.predict._one", killed)
    with pytest.raises(SystemExit):
        predict(artifact, [str(folder)], out=out, resume=True, threads=1)
    monkeypatch.undo()
    assert len(json.loads((out / "predictions.json").read_text())["images"]) == 3
    assert predict(artifact, [str(folder)], out=out, resume=True, threads=1).resumed == 3
    # An image that is not given any more is forgotten.
    assert len(predict(artifact, [str(folder / "one.png")], out=out, resume=True, threads=1).images) == 1
    assert len(json.loads((out / "predictions.json").read_text())["images"]) == 1


def test_a_folder_is_only_cleared_where_it_holds_predictions(artifact: Path, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not made by edgeseg"):
        predict(artifact, [str(folder)], out=folder / "below")
    with pytest.raises(InputError, match=r"one\.png: is an input"):
        predict(artifact, [str(folder)], out=folder)
    mine = tiny.make_artifact(tmp_path / "mine", file_format="onnx").folder
    (mine / ".edgeseg").touch()
    with pytest.raises(InputError, match="something else"):
        predict(artifact, [str(folder)], out=mine)
    out = tmp_path / "out"
    predict(artifact, [str(folder)], out=out, threads=1)
    kept = (out / "my-notes.txt", out / "labels/notes.txt", out / "labels/corrected/one.png")
    for path in kept:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    with pytest.raises(InputError, match=r"results of an earlier call.*--resume.*--force"):
        predict(artifact, [str(folder / "one.png")], out=out, threads=1)
    assert len(list((out / "labels").glob("**/*.png"))) == 4
    predict(artifact, [str(folder / "one.png")], out=out, threads=1, force=True)
    found = sorted(path for path in (out / "labels").rglob("*") if path.is_file())
    assert found == sorted([out / "labels/one.png", *kept[1:]])
    assert [path.read_text() for path in kept] == ["mine"] * 3


@pytest.mark.parametrize("how", [{}, {"resume": True}, {"force": True}], ids=str)
def test_no_result_replaces_an_input(how: dict[str, bool], artifact: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict(artifact, [str(folder)], out=out, threads=1, overlay=True)
    before = {path: path.read_bytes() for path in out.rglob("*.png")}
    with pytest.raises(InputError, match=r"one\.png: is an input|results of an earlier call"):
        predict(artifact, [str(out / "overlays")], out=out, threads=1, overlay=True, **how)
    assert {path: path.read_bytes() for path in out.rglob("*.png")} == before


def test_a_data_set_is_scored_as_validate_scores_it(artifact: Path, tmp_path: Path) -> None:
    from edgeseg.verbs.validate import validate

    for part in ("images", "labels"):
        (tmp_path / "data" / part / "val").mkdir(parents=True)
    (tmp_path / "data/classes.txt").write_text("\n".join(tiny.CLASSES) + "\n")
    cv2.imwrite(str(tmp_path / "data/images/val/a.png"), tiny.image())
    cv2.imwrite(str(tmp_path / "data/labels/val/a.png"), tiny.image()[:, :, 0] // 64)
    found = predict(artifact, data=str(tmp_path / "data"), out=tmp_path / "out", threads=1)
    assert found.miou == validate(str(artifact), data=str(tmp_path / "data"), threads=1).accuracy.miou


def test_patterns_reach_below_and_names_never_leave_the_folder(folder: Path) -> None:
    assert [item.name for item in find_images([str(folder / "**/one.png")])] == ["below/one", "one"]
    names = [item.name for item in find_images([str(folder / "below/../one.png"), str(folder / "below/one.png")])]
    assert names == ["one", "below/one"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("images/onne.png", 'Did you mean "one.png"?'),
        ("images/*.bmp", "no image matches"),
        (".", "Did you mean images"),
        ("images/notes.txt", "notes.txt: not a readable image"),
    ],
)
def test_what_is_no_image_is_said_in_one_line(
    artifact: Path, folder: Path, *, given: str, message: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(folder.parent)
    assert main(["predict", str(artifact), given, "--json"]) == 1
    error = capsys.readouterr().err.strip()
    assert len(error.splitlines()) == 1
    assert message in error


@pytest.mark.parametrize(
    "option",
    [["--tta", "flop"], ["--tta", "scales=a"], ["--tile", "big"], ["--overlap", "1"], ["--resume", "--data", "x"]],
)
def test_options_without_sense_are_refused(
    artifact: Path, option: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    malformed = option[0] in ("--tta", "--tile")
    assert main(["predict", str(artifact), *([] if "--data" in option else ["x.png"]), *option]) == 1 + malformed
    assert option[0].strip("-") in capsys.readouterr().err


@pytest.mark.parametrize("size", [(1, 1), (3, 700), (513, 5)])
def test_label_pngs_hold_the_same_numbers_with_and_without_colours(size: tuple[int, int], tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(0, 4, size, dtype=np.uint8)
    labels[0, 0] = 255
    write_labels(tmp_path / "grey.png", labels)
    assert np.array_equal(cv2.imread(str(tmp_path / "grey.png"), cv2.IMREAD_UNCHANGED), labels)
    write_labels(tmp_path / "colour.png", labels, palette=tiny.PALETTE)
    colors = np.zeros((256, 3), np.uint8)
    colors[:4] = tiny.PALETTE
    assert np.array_equal(cv2.imread(str(tmp_path / "colour.png"))[:, :, ::-1], colors[labels])


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
def test_an_image_whose_results_are_being_written_at_a_signal_is_finished(
    artifact: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(path: Path, labels: np.ndarray, **options: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        write_labels(path, labels, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("edgeseg.verbs.predict.write_labels", interrupted)
    found = predict(artifact, [str(folder)], out=tmp_path / "out", threads=1)
    assert found.interrupted
    assert [image.labels for image in found.images] == ["labels/one.png"]
    assert (tmp_path / "out" / "labels" / "one.png").exists()


def test_ctrl_c_ends_with_status_130_and_whole_files(artifact: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for index in range(3000):
        (images / f"{index}.png").symlink_to(tmp_path / "p.png")
    cv2.imwrite(str(tmp_path / "p.png"), tiny.image((300, 400)))
    command = [sys.executable, "-m", "edgeseg.cli", "predict", str(artifact), str(images), "--out", "out"]
    child = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    labels = tmp_path / "out" / "labels"
    until = time.monotonic() + 60
    while time.monotonic() < until and child.poll() is None and not (labels.is_dir() and any(labels.iterdir())):
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 130, err
    assert "Traceback" not in err
    assert "interrupted: continue with --resume" in out
    stored = json.loads((tmp_path / "out/predictions.json").read_text())
    assert stored["interrupted"] is True
    assert {item["labels"] for item in stored["images"]} == {f"labels/{path.name}" for path in labels.iterdir()}
