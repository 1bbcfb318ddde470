"""Capability tables of accelerators, one TOML file each, with its source and the date on which it was read."""

from __future__ import annotations

from pathlib import Path

from edgeseg.core.chip import Chip
from edgeseg.core.files import read_toml
from edgeseg.core.suggestions import unknown
from edgeseg.errors import RecipeError

__all__ = ["chip_names", "find_chip"]

_HERE = Path(__file__).parent


def chip_names() -> tuple[str, ...]:
    """Return the names of all chips, sorted."""
    return tuple(sorted(path.stem for path in _HERE.glob("*.toml")))


def find_chip(text: str) -> Chip:
    """Return the chip called `text`, or the one in the file `text` if it ends in .toml.

    Raises:
        UnknownName: no such chip; names the nearest one.
        InputError, RecipeError: the file is missing or does not follow the schema.
    """
    if text.endswith(".toml"):
        return read_toml(Chip, Path(text).expanduser())
    if text not in chip_names():
        raise unknown("chip", text, chip_names())
    chip = read_toml(Chip, _HERE / f"{text}.toml")
    if chip.name != text:
        raise RecipeError(f'{text}.toml: name = "{chip.name}" must equal the file\'s name.')
    return chip
