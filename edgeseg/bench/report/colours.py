"""What colour stands for on the page: the device if there are several, else the format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeseg.bench.compare import Row

_COLOURS = 6
"""Colours of style.css, c0 to c5."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Colours:
    """`names` are what is told apart, in order; with more than six the colours begin again."""

    by_device: bool
    names: tuple[str, ...]

    def name(self, row: Row) -> str:
        """Return what the row's colour stands for."""
        return _name(row, by_device=self.by_device)

    def number(self, row: Row) -> int:
        """Return the number of the row's colour in the style sheet."""
        return self.names.index(self.name(row)) % _COLOURS


def colours_of(rows: Sequence[Row]) -> Colours:
    """Return the colours of a page that shows these rows."""
    by_device = len({row.measurement.device.name for row in rows}) > 1
    return Colours(by_device=by_device, names=tuple(dict.fromkeys(_name(row, by_device=by_device) for row in rows)))


def _name(row: Row, *, by_device: bool) -> str:
    return row.measurement.device.name if by_device else row.measurement.format
