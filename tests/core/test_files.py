"""Folders appear whole or not at all, and what we did not make is left alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgeseg.core import atomic
from edgeseg.core.files import (
    MARKER,
    new_folder,
    raise_if_disk_full,
    read_json,
    read_toml,
    refuse_foreign,
    sha256_of,
    write_json,
)
from edgeseg.errors import InputError, RecipeError


@dataclass(frozen=True)
class Record:
    number: int


def write_half(destination: Path) -> None:
    with new_folder(destination) as partial:
        (partial / "half").write_text("x")
        raise RuntimeError("cut off")


def test_a_folder_appears_only_when_the_block_succeeds(tmp_path: Path) -> None:
    destination = tmp_path / "deep" / "out"
    with pytest.raises(RuntimeError):
        write_half(destination)
    assert list((tmp_path / "deep").iterdir()) == []
    with new_folder(destination) as partial:
        (partial / "whole").write_text("x")
        assert not destination.exists()
    assert sorted(path.name for path in destination.iterdir()) == [MARKER, "whole"]


def test_our_own_folder_is_replaced_and_kept_when_the_next_write_fails(tmp_path: Path) -> None:
    destination = tmp_path / "out"
    with new_folder(destination) as partial:
        (partial / "first").touch()
    with pytest.raises(RuntimeError), new_folder(destination):
        raise RuntimeError
    assert (destination / "first").exists()
    with new_folder(destination) as partial:
        (partial / "second").touch()
    assert sorted(path.name for path in destination.iterdir()) == [MARKER, "second"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_foreign_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="not made by edgeseg"), new_folder(tmp_path):
        raise AssertionError("the block must not run")
    file = tmp_path / "thesis.tex"
    with pytest.raises(InputError, match="is a file"), new_folder(file):
        raise AssertionError("the block must not run")
    assert file.read_text() == "years of work"


@pytest.mark.parametrize("given", [".", "", "..", "inner/..", "inner/../../out", "link"])
def test_the_current_folder_is_refused_whatever_it_is_called(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    with new_folder(out) as partial:
        (partial / "inner").mkdir()
        (partial / "link").symlink_to(out)
    here = out / "inner" if given == ".." else out
    monkeypatch.chdir(here)
    destination = Path(given)
    with pytest.raises(InputError, match=r"current folder.*Give a name"), new_folder(destination):
        raise AssertionError("the block must not run")
    refuse_foreign(destination, replaced=False)
    assert here.samefile(".")
    assert sorted(path.name for path in out.iterdir()) == [MARKER, "inner", "link"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_destination_that_ends_in_dots_is_the_folder_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        with new_folder(Path("out/inner/..")) as partial:
            (partial / "inner").mkdir()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [MARKER, "inner"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_current_folder_can_be_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    with (
        atomic.lock(Path()),
        pytest.raises(InputError, match="is writing it"),
        atomic.lock(tmp_path / "out"),
    ):
        raise AssertionError("the lock is held")


def test_a_current_folder_that_was_deleted_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").mkdir()
    monkeypatch.chdir(tmp_path / "out")
    (tmp_path / "out").rmdir()
    with pytest.raises(InputError, match="cannot be followed"), new_folder(Path()):
        raise AssertionError("the block must not run")


def test_reading_names_the_file_and_the_fault(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    with pytest.raises(InputError, match="no such file"):
        read_toml(Record, path)
    path.write_text("number = [")
    with pytest.raises(RecipeError, match=r"a\.toml: not valid TOML"):
        read_toml(Record, path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(RecipeError, match="UTF-8"):
        read_toml(Record, path)
    write_json(Record(3), tmp_path / "a.json")
    assert read_json(Record, tmp_path / "a.json") == Record(3)


def test_sha256_is_that_of_the_standard(tmp_path: Path) -> None:
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    assert sha256_of(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_full_disk_is_named_where_a_library_gives_another_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raise_if_disk_full(tmp_path / "model.xml")
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=4096))
    with pytest.raises(OSError, match=r"No space left on device.*model\.xml"):
        raise_if_disk_full(tmp_path / "model.xml")
