"""The line of a TOML file that an error message is about.

TOML readers keep no line numbers, so the key is searched in the text, below the header of its table.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

from edgeseg.errors import EdgesegError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PLACE = re.compile(r"(?:\.\w+|\[\d+\])*")
QUOTED_KEY = re.compile(r'key "([^"]+)"')
STAGES_HEADER = re.compile(r"^\s*\[\[\s*stages\s*\]\]")
_HEADER = re.compile(r"^\s*\[+\s*([\w.]+)\s*\]+")


@contextlib.contextmanager
def with_lines(path: Path) -> Iterator[None]:
    """Add the line number to errors of the block that start with a place in this TOML file.

    `tiny.toml.stages[1]: unknown key "mac"` becomes `tiny.toml:17: stages[1]: unknown key "mac"`.
    """
    try:
        yield
    except EdgesegError as error:
        error.args = (_located(str(error), path), *error.args[1:])
        raise


def _located(message: str, path: Path) -> str:
    if not message.startswith((f"{path.name}.", f"{path.name}:")):
        return message
    match = PLACE.match(message, len(path.name))
    place = match.group() if match else ""
    rest = message[len(path.name) + len(place) :]
    key = QUOTED_KEY.search(rest)
    keys = [*re.findall(r"\w+", place), *([key.group(1)] if key else [])]
    try:
        line = line_of(path.read_text(encoding="utf-8"), keys)
    except (OSError, ValueError):
        return message
    if line is None:
        return message
    return f"{path.name}:{line}: {place.lstrip('.')}{rest}" if place else f"{path.name}:{line}{rest}"


def line_of(text: str, keys: list[str]) -> int | None:
    """Return the line (from 1) of the last of the nested `keys` found in the text, or None.

    `["stages", "1", "run", "batch"]` is `batch` in the table `run` of the second of `[[stages]]`.
    """
    lines = text.splitlines()
    found, first, last = None, 0, len(lines)
    if len(keys) > 1 and keys[0] == "stages":
        starts = [number for number, line in enumerate(lines) if STAGES_HEADER.match(line)]
        index = int(keys[1])
        if index >= len(starts):
            return None
        found, first = starts[index] + 1, starts[index] + 1
        last = starts[index + 1] if index + 1 < len(starts) else len(lines)
        keys = keys[2:]
    for key in keys:
        hit = next((number for number in range(first, last) if _names(lines[number], key)), None)
        if hit is None:
            continue
        # An inline table has its keys on the same line.
        found, first = hit + 1, hit
    return found


def _names(line: str, key: str) -> bool:
    """Return whether a line sets `key` or opens its table."""
    bare = line.split("#", maxsplit=1)[0]
    header = _HEADER.match(bare)
    if header:
        return header.group(1).split(".")[-1] == key
    return re.search(rf'(?:^|[{{,.\s])"?{re.escape(key)}"?\s*=', bare) is not None
