"""Whatever stops a write, wherever it stops it: the old state or the new one, whole, and a second try succeeds."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from edgeseg.core import atomic
from edgeseg.core.files import MARKER, new_folder, write_json, write_whole
from edgeseg.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

POSIX = pytest.mark.skipif(os.name != "posix", reason="signals and locks are POSIX")

FOLDER_STEPS = ("fill folder", "sync folder", "rename", "sync parent", "remove old")
FILE_STEPS = ("write file", "sync file", "replace file", "sync parent of file")

WRITER = """
import os, signal, sys, time
from pathlib import Path
from edgeseg.core import atomic
from edgeseg.core.files import new_folder, write_json
how, stop_at, destination, text = sys.argv[1:]
if how == "two renames":
    atomic._exchange = lambda one, other: False
def step(name):
    if name == stop_at:
        print("there", flush=True)
        if how == "wait":
            time.sleep(60)
        os.kill(os.getpid(), signal.SIGKILL)
atomic.step = step
if destination.endswith(".json"):
    write_json({"text": text}, Path(destination))
else:
    with new_folder(Path(destination)) as partial:
        (partial / "sub").mkdir()
        (partial / "text").write_text(text)
        (partial / "sub" / "text").write_text(text)
"""


def write(destination: Path, text: str, *, stop_at: str = "", how: str = "kill") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WRITER, how, stop_at, str(destination), text]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def content(folder: Path) -> str:
    """Return the text of a folder, which must be whole."""
    assert sorted(path.name for path in folder.iterdir()) == [MARKER, "sub", "text"]
    text = (folder / "text").read_text()
    assert (folder / "sub" / "text").read_text() == text
    return text


@POSIX
@pytest.mark.parametrize(
    ("stop_at", "how"),
    [*((name, how) for name in FOLDER_STEPS for how in ("kill", "two renames")), ("between renames", "two renames")],
)
def test_a_folder_killed_at_any_step_is_the_old_or_the_new_one(stop_at: str, how: str, tmp_path: Path) -> None:
    destination = tmp_path / "out"
    assert write(destination, "old").returncode == 0
    stopped = write(destination, "new", stop_at=stop_at, how=how)
    assert (stopped.returncode, stopped.stdout) == (-signal.SIGKILL, "there\n"), stopped.stderr
    done = stop_at in ("sync parent", "remove old")
    if stop_at != "between renames":
        assert content(destination) == ("new" if done else "old")
    # Nothing but hidden leftovers, and the next write takes them away.
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] in (["out"], [])
    failed = write(destination, "third", stop_at="fill folder")
    assert failed.returncode == -signal.SIGKILL
    assert content(destination) == ("new" if done else "old")
    again = write(destination, "third")
    assert again.returncode == 0, again.stderr
    assert content(destination) == "third"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@POSIX
@pytest.mark.parametrize("stop_at", FILE_STEPS)
def test_a_file_killed_at_any_step_is_the_old_or_the_new_one(stop_at: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    assert write(path, "old").returncode == 0
    assert write(path, "new", stop_at=stop_at).returncode == -signal.SIGKILL
    assert json.loads(path.read_text())["text"] == ("new" if stop_at == "sync parent of file" else "old")
    for left in tmp_path.glob(".*"):
        os.utime(left, (0, 0))
    assert write(path, "third").returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("stop_at", FOLDER_STEPS[:3])
def test_a_disk_that_is_full_at_any_step_leaves_the_old_folder(
    stop_at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(name: str) -> None:
        if name == stop_at:
            raise OSError(errno.ENOSPC, "No space left on device")

    def replace_it() -> None:
        with new_folder(tmp_path / "out") as partial:
            (partial / "new").touch()

    with new_folder(tmp_path / "out") as partial:
        (partial / "old").touch()
    monkeypatch.setattr(atomic, "step", full)
    with pytest.raises(InputError, match=r"No space left on device\. Make room"):
        replace_it()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [MARKER, "old"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("stop_at", FILE_STEPS[:3])
def test_a_disk_that_is_full_at_any_step_leaves_the_old_file(
    stop_at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(name: str) -> None:
        if name == stop_at:
            raise OSError(errno.ENOSPC, "No space left on device")

    write_json({"text": "old"}, tmp_path / "a.json")
    monkeypatch.setattr(atomic, "step", full)
    with pytest.raises(OSError, match="No space left"):
        write_json({"text": "new"}, tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text()) == {"text": "old"}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


@POSIX
def test_a_second_writer_is_told_and_a_killed_one_leaves_no_lock(tmp_path: Path) -> None:
    destination = tmp_path / "out"
    command = [sys.executable, "-c", WRITER, "wait", "fill folder", str(destination), "first"]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert first.stdout is not None
        assert first.stdout.readline() == "there\n"
        with (
            pytest.raises(InputError, match=rf"another process \(PID {first.pid}\) is writing it"),
            new_folder(destination),
        ):
            raise AssertionError("the block must not run")
        with new_folder(tmp_path / "out.2") as partial:
            (partial / "beside").touch()
    finally:
        first.kill()
        first.communicate()
    assert write(destination, "second").returncode == 0
    assert content(destination) == "second"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out.2"]


@POSIX
def test_four_writers_of_one_folder_leave_one_whole_folder(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, "", "", str(tmp_path / "out")]
    writers = [subprocess.Popen([*command, str(number)], stderr=subprocess.PIPE, text=True) for number in range(4)]
    ends = [(writer.communicate(timeout=60)[1], writer.returncode) for writer in writers]
    assert any(status == 0 for _, status in ends)
    assert all(status == 0 or "is writing it" in words for words, status in ends), ends
    assert content(tmp_path / "out") in "0123"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@POSIX
def test_what_is_written_is_on_the_disk_before_its_name_is_and_the_name_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    fsync = os.fsync

    def record(handle: int) -> None:
        synced.append(os.fstat(handle).st_ino)
        fsync(handle)

    def numbers(*paths: Path) -> list[int]:
        return [path.stat().st_ino for path in paths]

    monkeypatch.setattr(os, "fsync", record)
    write_json({}, tmp_path / "a.json")
    assert synced == numbers(tmp_path / "a.json", tmp_path)
    synced.clear()
    out = tmp_path / "out"
    with new_folder(out) as partial:
        (partial / "sub").mkdir()
        (partial / "sub" / "file").touch()
    assert set(synced[:-1]) == set(numbers(out, out / MARKER, out / "sub", out / "sub" / "file"))
    assert synced[-1:] == numbers(tmp_path)


def test_an_existing_folder_is_exchanged_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    if not atomic._exchange(tmp_path / "one", tmp_path / "other"):
        pytest.skip("this system cannot exchange two names")
    steps: list[str] = []
    monkeypatch.setattr(atomic, "step", steps.append)
    for _ in range(2):
        with new_folder(tmp_path / "out"):
            pass
    assert "remove old" in steps
    assert "between renames" not in steps


@POSIX
def test_the_umask_is_honoured(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with new_folder(tmp_path / "out") as partial:
            (partial / "file").touch()
        write_whole(b"x", tmp_path / "one")
        write_json({}, tmp_path / "two.json")
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "out", *tmp_path.glob("*"))}
    assert (modes["out"], modes["one"], modes["two.json"]) == (0o750, 0o640, 0o640)


def test_temporary_names_cannot_be_guessed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[str] = set()
    monkeypatch.setattr(atomic, "step", lambda _name: seen.update(path.name for path in tmp_path.glob(".*.partial")))
    for _ in range(3):
        write_whole(b"x", tmp_path / "a")
        with new_folder(tmp_path / "out"):
            pass
    assert len(seen) == 6


def test_a_temporary_file_that_is_still_being_written_is_left_alone(tmp_path: Path) -> None:
    living = tmp_path / f".a.json.{os.getpid()}-abcdefgh.partial"
    young = tmp_path / ".a.json.999999999-abcdefgh.partial"
    foreign = tmp_path / ".a.json.backup.partial"
    old = tmp_path / ".a.json.999999998-abcdefgh.partial"
    for path in (living, young, foreign, old):
        path.touch()
    for path in (living, foreign, old):
        os.utime(path, (time.time() - 3600,) * 2)
    write_json({}, tmp_path / "a.json")
    assert {path.name for path in tmp_path.glob(".*")} == {living.name, young.name, foreign.name}


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="needs symbolic links")
def test_a_link_to_a_folder_of_ours_stays_a_link(tmp_path: Path) -> None:
    with new_folder(tmp_path / "disk" / "out"):
        pass
    (tmp_path / "out").symlink_to(tmp_path / "disk" / "out")
    with new_folder(tmp_path / "out") as partial:
        (partial / "new").touch()
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "disk" / "out" / "new").exists()
