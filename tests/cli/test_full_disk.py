"""A disk that is full, a reader that left, Ctrl-C: one line, the right status, and nothing half-written."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from contracts import tiny_artifact as tiny
from contracts.handled_signals import wait_for_handlers
from contracts.unmeasured import unmeasured

from edgeseg.core.files import new_folder
from edgeseg.errors import InputError

EDGESEG = [sys.executable, "-m", "edgeseg.cli"]


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make_artifact(tmp_path_factory.mktemp("tiny") / "a", file_format="onnx").folder


def run_limited(arguments: list[str], *, file_kb: int, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command line with files limited to `file_kb`, the nearest to a full disk that needs no mount."""
    command = f"ulimit -f {file_kb}; trap '' XFSZ; exec \"$@\""
    return subprocess.run(
        ["bash", "-c", command, "bash", *EDGESEG, *arguments],
        cwd=cwd, capture_output=True, text=True, timeout=120, check=False, env=unmeasured(),
    )  # fmt: skip


def assert_one_line(done: subprocess.CompletedProcess[str], message: str) -> None:
    assert done.returncode == 1, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert message in done.stderr


def test_no_room_for_a_measurement(artifact: Path, tmp_path: Path) -> None:
    done = run_limited(["bench", str(artifact), "--runs", "1", "--warmup", "1", "--out", "r"], file_kb=1, cwd=tmp_path)
    assert_one_line(done, "cannot be written: File too large")
    assert list((tmp_path / "r").iterdir()) == []


def test_no_room_for_a_report(artifact: Path, tmp_path: Path) -> None:
    bench = [*EDGESEG, "bench", str(artifact), "--runs", "1", "--warmup", "1", "--out", "r"]
    subprocess.run(bench, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    done = run_limited(["compare", "r", "--html", "page.html"], file_kb=1, cwd=tmp_path)
    assert_one_line(done, "page.html: the report cannot be written")
    assert [path.name for path in tmp_path.iterdir()] == ["r"]


def test_no_room_for_an_overlay_leaves_the_label_maps_that_are_done(artifact: Path, tmp_path: Path) -> None:
    import cv2

    (tmp_path / "in").mkdir()
    cv2.imwrite(str(tmp_path / "in/a.png"), tiny.image((40, 40)))
    cv2.imwrite(str(tmp_path / "in/b.png"), tiny.image((600, 600)))
    done = run_limited(["predict", str(artifact), "in", "--overlay"], file_kb=64, cwd=tmp_path)
    assert_one_line(done, "overlays/b.png: cannot be written")
    assert sorted(path.name for path in (tmp_path / "predictions").rglob("*.*") if path.is_file()) == [
        ".edgeseg", "a.png", "a.png", "predictions.json",
    ]  # fmt: skip


def test_a_folder_that_does_not_fit_is_not_there_at_all(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        with new_folder(folder) as partial:
            (partial / "half").write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(InputError, match="No space left"):
        write(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_results_that_cannot_be_printed(more: list[str], tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*EDGESEG, "targets", *more],
            cwd=tmp_path,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
            check=False,
        )
    assert_one_line(done, "stdout: No space left on device")  # type: ignore[arg-type]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    done = run_limited(["bench", str(artifact), "--runs", "1", "--out", "locked/r"], file_kb=1000, cwd=tmp_path)
    assert_one_line(done, "Permission denied")


@pytest.mark.parametrize("verb", ["convert", "bench", "train"])
def test_ctrl_c_ends_with_one_line_and_leaves_nothing(verb: str, artifact: Path, tmp_path: Path) -> None:
    arguments = {
        "convert": ["--target", "onnx", "--precision", "fp32", "--out", "out"],
        "bench": [str(artifact), "--runs", "1000000", "--out", "out"],
        "train": ["fast_scnn-camvid", "--data", "streets:1000", "--out", "out"],
    }[verb]
    child = subprocess.Popen(
        [*EDGESEG, verb, *arguments], cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    wait_for_handlers(child)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=90)
    # Python ends itself by SIGINT, which a shell reports as 130 too, where the exception passed through exec().
    assert child.returncode in (130, -signal.SIGINT), err
    assert "Traceback" not in err
    assert err.strip().splitlines()[-1] == "edgeseg: interrupted."
    assert out == ""
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
