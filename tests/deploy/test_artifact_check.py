"""The C++ checker agrees with ours about what an intact artifact is, and finds planted faults without edgeseg."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from contracts import tiny_artifact as tiny

from edgeseg.core.artifact import open_artifact
from edgeseg.core.manifest_schema import digest

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

SOURCE = Path(__file__).parents[2] / "examples" / "device" / "artifact_check.cpp"


@pytest.fixture(scope="module")
def checker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler here")
    program = tmp_path_factory.mktemp("checker") / "artifact_check"
    words = [compiler, "-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", str(SOURCE), "-o", str(program)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return program


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny.make_artifact(tmp_path / "a").folder


def check(program: Path, folder: Path, *words: str) -> tuple[int, str]:
    done = subprocess.run([str(program), str(folder), *words], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def golden(folder: Path) -> NDArray[np.float32]:
    return np.asarray(np.load(folder / "golden" / "output.npy"))


def test_an_intact_artifact_and_a_repeated_output_pass(checker: Path, folder: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 1e-4, golden(folder).shape)
    np.save(tmp_path / "mine.npy", (golden(folder) + noise).astype(np.float32))
    status, said = check(checker, folder, "1", str(tmp_path / "mine.npy"))
    assert status == 0, said
    assert open_artifact(folder).sha256 in said
    assert "100 % of the labels" in said
    assert check(checker, folder, "1")[0] == 2


OUTPUTS: dict[str, tuple[Callable[[NDArray[np.float32]], NDArray[np.float32]], str]] = {
    "NaN": (lambda values: np.where(np.arange(values.size).reshape(values.shape) == 7, np.nan, values), "NaN"),
    "classes swapped": (lambda values: values[..., ::-1], "differ by more"),
    "another scale": (lambda values: values * 2, "differ by more"),
    "a row lower": (lambda values: np.roll(values, 1, axis=1), "differ by more"),
    "constant": (lambda values: np.full_like(values, values.mean()), "differ by more"),
    "another shape": (lambda values: values[:, 1:], "another shape"),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_wrong_output_is_found(name: str, checker: Path, folder: Path, tmp_path: Path) -> None:
    change, message = OUTPUTS[name]
    np.save(tmp_path / "mine.npy", np.ascontiguousarray(change(golden(folder))).astype(np.float32))
    status, said = check(checker, folder, "1", str(tmp_path / "mine.npy"))
    assert status == 1
    assert message in said


def _edit(folder: Path, change: Callable[[dict[str, object]], object], *, reseal: bool) -> None:
    path = folder / "manifest.json"
    table = json.loads(path.read_text())
    change(table)
    if reseal:
        table["self_sha256"] = digest(table)
    path.write_text(json.dumps(table))


def _reseal(folder: Path, change: Callable[[dict[str, Any]], object], **files: bytes) -> None:
    """Replace files of the folder, and write a manifest that matches them, with a change."""

    def matching(table: dict[str, Any]) -> None:
        for entry in table["files"]:
            content = (folder / entry["path"]).read_bytes()
            entry.update(size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
        change(table)

    for name, content in files.items():
        (folder / "golden" / f"{name}.npy").write_bytes(content)
    _edit(folder, matching, reseal=True)


def _beside(folder: Path, name: str, *, to: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).symlink_to(to)


def _text(folder: Path, old: str, new: str) -> None:
    path = folder / "manifest.json"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def _empty(folder: Path) -> None:
    _edit(folder, lambda table: table.update(files=[]), reseal=True)
    for path in folder.rglob("*"):
        if path.is_file() and path.name not in ("manifest.json", ".edgeseg"):
            path.unlink()


def _receipt(folder: Path, make: Callable[[Path], object], name: str = "receipts/a.json") -> None:
    (folder / name).parent.mkdir(parents=True)
    make(folder / name)


def _link(folder: Path) -> None:
    moved = (folder / "model.tflite").rename(folder.parent / "m")
    (folder / "model.tflite").symlink_to(moved)


FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a byte changed": (
        lambda folder: (folder / "model.tflite").write_bytes(b"X" + (folder / "model.tflite").read_bytes()[1:]),
        "altered",
    ),
    "cut off": (lambda folder: (folder / "golden" / "output.npy").write_bytes(b""), "another size"),
    "missing": (lambda folder: (folder / "golden" / "image.png").unlink(), "is missing"),
    "a file too many": (lambda folder: (folder / "extra.so").write_bytes(b"x"), "not listed"),
    "a link": (_link, "is a link"),
    "altered manifest": (
        lambda folder: _edit(folder, lambda table: table.update(name="other"), reseal=False),
        "altered",
    ),
    "a path outside": (
        lambda folder: _edit(folder, lambda table: table["files"][0].update(path="../m"), reseal=True),
        "not a path inside",
    ),
    "a link to a listed file": (lambda folder: _beside(folder, "extra.so", to="model.tflite"), "extra.so: is a link"),
    "a link to a folder": (lambda folder: _beside(folder, "more", to="golden"), "more: is a link"),
    "a link among receipts": (lambda folder: _beside(folder, "receipts/b.json", to="../manifest.json"), "is a link"),
    "a pipe among receipts": (lambda folder: _receipt(folder, os.mkfifo), "is a special file"),
    "below receipts": (lambda folder: _receipt(folder, Path.touch, "receipts/more/a.json"), "is not listed"),
    "nothing in it": (_empty, "entry model.tflite is not in its list of files"),
    "another entry": (
        lambda folder: _edit(folder, lambda table: table.update(entry="other.tflite"), reseal=True),
        "entry other.tflite is not in its list of files",
    ),
    "a golden output outside": (
        lambda folder: _edit(folder, lambda table: table["golden"].update(output="../m.npy"), reseal=True),
        "output ../m.npy is not in its list of files",
    ),
    "a zero byte": (lambda folder: _text(folder, "{", "{\0"), "expected \" at byte 2"),
    "a bad escape": (lambda folder: _text(folder, '"name": "', '"name": "\\u12g4'), "bad escape at byte"),
    "half a surrogate pair": (lambda folder: _text(folder, '"name": "', '"name": "\\ud800\\u0041'), "surrogate"),
    "a number that is none": (lambda folder: _text(folder, '"schema": 3', '"schema": 0x3'), "not JSON at byte"),
    "no JSON": (lambda folder: (folder / "manifest.json").write_text("{"), "cut off"),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_changed_folder_is_found(name: str, checker: Path, folder: Path) -> None:
    change, message = FILES[name]
    change(folder)
    status, said = check(checker, folder)
    assert status == 1
    assert message in said


def test_a_receipt_that_is_being_written_does_no_harm(checker: Path, folder: Path) -> None:
    _receipt(folder, Path.touch, "receipts/.a.json.17-ab.partial")
    open_artifact(folder)
    assert check(checker, folder)[0] == 0


@pytest.mark.parametrize("shape", [(1, 0, 12, 4), (8, 12), (1, 8, 12, 0), (1, 8, 12, 5)])
def test_a_golden_output_of_another_shape_ends_without_a_crash(
    shape: tuple[int, ...], checker: Path, folder: Path, tmp_path: Path
) -> None:
    np.save(tmp_path / "mine.npy", np.zeros(shape, np.float32))
    _reseal(folder, lambda _: None, output=(tmp_path / "mine.npy").read_bytes())
    open_artifact(folder)
    status, said = check(checker, folder, "1", str(tmp_path / "mine.npy"))
    assert status == 1, said
    assert "another shape than the manifest says" in said or "not a .npy file" in said


def test_a_file_that_is_read_otherwise_says_so(checker: Path, folder: Path, tmp_path: Path) -> None:
    mine, values = tmp_path / "mine.npy", golden(folder)
    np.save(mine, values.astype(">f4"))
    assert "is big-endian" in check(checker, folder, "1", str(mine))[1]
    np.save(mine, np.asfortranarray(values))
    assert "is in Fortran order" in check(checker, folder, "1", str(mine))[1]
    mine.write_bytes(b"\x93NUMPY\x02\x00\x00\x00")
    assert "is not a .npy file" in check(checker, folder, "1", str(mine))[1]
    assert check(checker, folder, "first", str(mine))[0] == 2


def test_the_digest_leaves_out_times_alone(checker: Path, folder: Path) -> None:
    before = open_artifact(folder).sha256

    def later(table: dict[str, object]) -> None:
        table["created"] = "2030-01-01T00:00:00+00:00"
        table["report"]["seconds"] = 99.5  # type: ignore[index]

    _edit(folder, later, reseal=False)
    assert open_artifact(folder).sha256 == before
    assert check(checker, folder)[0] == 0
    _edit(folder, lambda table: table["report"].update(ops_total=7), reseal=True)  # type: ignore[attr-defined]
    assert open_artifact(folder).sha256 != before
