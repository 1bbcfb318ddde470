"""Patterns of files: wildcards, links and the names that pairs get from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from edgeseg.data.patterns import files_below, is_wild, pattern_rule
from edgeseg.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path


def tree(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def found(root: Path, pattern: str) -> list[str]:
    return [path.relative_to(root).as_posix() for path in files_below(root, pattern)]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a/*.png", ["a/1.png", "a/10.png", "a/2.png", "a/[x].png"]),
        ("a/?.png", ["a/1.png", "a/2.png"]),
        ("a/[12]*.png", ["a/1.png", "a/10.png", "a/2.png"]),
        ("a/[!1-9]*.png", ["a/[x].png"]),
        ("a/[[]x].png", ["a/[x].png"]),
        ("./a//b/*.png", ["a/b/3.png"]),
        ("a/**/*.png", ["a/1.png", "a/10.png", "a/2.png", "a/[x].png", "a/b/3.png"]),
        ("**/b/*.png", ["a/b/3.png"]),
        ("a/.git/*.png", ["a/.git/4.png"]),
        ("a/1.*", ["a/1.png"]),
        ("none/*.png", []),
    ],
)
def test_a_pattern_finds_what_it_says(pattern: str, names: list[str], tmp_path: Path) -> None:
    tree(tmp_path, "a/1.png", "a/2.png", "a/10.png", "a/[x].png", "a/b/3.png", "a/.git/4.png", "a/._1.png")
    assert found(tmp_path, pattern) == names


def test_linked_folders_are_followed_and_loops_are_not(tmp_path: Path) -> None:
    tree(tmp_path / "disk", "7.png", "more/8.png")
    tree(tmp_path / "root", "a/1.png")
    (tmp_path / "root" / "a" / "link").symlink_to(tmp_path / "disk")
    (tmp_path / "root" / "a" / "loop").symlink_to(tmp_path / "root")
    (tmp_path / "disk" / "back").symlink_to(tmp_path / "disk")
    assert found(tmp_path / "root", "a/**/*.png") == ["a/1.png", "a/link/7.png", "a/link/more/8.png"]


def test_wildcards_side_by_side_are_one_part_of_the_name() -> None:
    match = pattern_rule("**/img[12]?*_*.png").fullmatch("x/y/img10a_left.png")
    assert match is not None
    assert match.groups() == ("x/y", "10a", "left")
    assert is_wild("a?")
    assert not is_wild("a]b{split}")


@pytest.mark.parametrize(
    ("pattern", "says"),
    [("/data/*.png", "is an absolute path"), ("a/**", r"ends with \*\*"), ("a/[z-a].png", "not a pattern")],
)
def test_what_is_no_pattern_is_said(pattern: str, says: str, tmp_path: Path) -> None:
    tree(tmp_path, "a/1.png")
    with pytest.raises(InputError, match=says):
        found(tmp_path, pattern)
