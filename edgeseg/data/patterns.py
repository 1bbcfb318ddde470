"""Files below a folder by a pattern: `*`, `?` and `[abc]` in a name, `**` for folders of any depth; links are followed.

`pathlib` skips linked folders below `**` without a word, and folders of images are often links to another disk.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from typing import TYPE_CHECKING

from edgeseg.errors import DatasetError, InputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DEEP = "**"
_WILD = r"\*|\?|\[!?\]?[^\]/]*\]"
_ONE = re.compile(_WILD)
_RUN = re.compile(rf"(\*\*/|(?:{_WILD})+)")


def is_wild(pattern: str) -> bool:
    """Return whether a pattern has a wildcard."""
    return _ONE.search(pattern) is not None


@lru_cache(maxsize=256)
def pattern_rule(pattern: str) -> re.Pattern[str]:
    """Return the regular expression of a pattern; it has a group for each `**/` and each run of other wildcards.

    Raises:
        InputError: `[...]` with a range that ends before it begins.
    """
    pieces = (
        r"(?:(.*)/)?" if piece == f"{DEEP}/" else f"({_run(piece)})" if _ONE.match(piece) else re.escape(piece)
        for piece in _RUN.split(pattern)
    )
    try:
        return re.compile("".join(pieces), re.DOTALL)
    except re.error as error:
        raise InputError(f'"{pattern}": not a pattern: {error}.') from None


def plain_pattern(pattern: str) -> str:
    """Return a pattern without empty parts and dots, so that it matches paths as they are listed.

    Raises:
        InputError: an absolute pattern, or one that ends with `**`.
    """
    parts = [part for part in pattern.split("/") if part not in ("", ".")]
    if pattern.startswith("/"):
        raise InputError(f'"{pattern}": is an absolute path. Give a pattern below the data set\'s root.')
    if parts and parts[-1] == DEEP:
        raise InputError(f'"{pattern}": ends with **, which means folders. Name the files in them, such as **/*.png.')
    return "/".join(parts)


def files_below(folder: Path, pattern: str) -> Iterator[Path]:
    """Yield the files below a folder that a pattern matches, each once.

    Wildcards match no hidden name.

    Raises:
        InputError: as `plain_pattern` and `pattern_rule`.
        DatasetError: a folder that cannot be read.
    """
    seen = set()
    for path in _below(folder, plain_pattern(pattern).split("/"), above=(folder.resolve(),)):
        if path not in seen:
            seen.add(path)
            yield path


def _below(folder: Path, parts: list[str], *, above: tuple[Path, ...]) -> Iterator[Path]:
    """Yield the matching files; `above` are the real folders on the way, which a link may lead back to."""
    part, rest = parts[0], parts[1:]
    if part == DEEP:
        yield from _below(folder, rest, above=above)
        for name in _names(folder, folders_only=True):
            real = (folder / name).resolve()
            if real not in above:
                yield from _below(folder / name, parts, above=(*above, real))
        return
    rule = pattern_rule(part)
    found = [folder / name for name in _names(folder) if rule.fullmatch(name)] if is_wild(part) else [folder / part]
    for path in found:
        if rest and path.is_dir():
            yield from _below(path, rest, above=above)
        elif not rest and path.is_file():
            yield path


def _names(folder: Path, *, folders_only: bool = False) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(
                entry.name
                for entry in entries
                if not entry.name.startswith(".") and (not folders_only or entry.is_dir())
            )
    except OSError as error:
        raise DatasetError(f"{folder}: cannot be read ({error.strerror}). Check its permissions.") from None


def _run(wildcards: str) -> str:
    """Return the regular expression of wildcards without a letter between them."""
    found = []
    for match in _ONE.finditer(wildcards):
        text = match[0]
        if text in ("*", "?"):
            found.append("[^/]" + "*" * (text == "*"))
            continue
        inner = text[1:-1].removeprefix("!")
        letters = "".join(letter if letter == "-" else re.escape(letter) for letter in inner)
        found.append(f"[{'^' if text[1] == '!' else ''}{letters}]")
    return "".join(found)
