"""Figures as text: one way to write each unit, and a dash for what was not measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


NONE = "\N{EN DASH}"
SCROLLING = '<div class="scroll" tabindex="0" role="group" aria-label="Table">'
"""The start of a table's frame; a keyboard must reach it to scroll it."""


def milliseconds(value: float | None) -> str:
    """Return three significant digits, as timing noise allows no more: 0.42, 3.71, 18.4, 152."""
    if value is None:
        return NONE
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def percent(fraction: float | None, *, digits: int = 1) -> str:
    """Return a fraction in percent, without the sign."""
    return NONE if fraction is None else f"{100 * fraction:.{digits}f}"


def signed_points(fraction: float | None, *, digits: int = 1) -> str:
    """Return a change in percentage points with its sign (a true minus); plain zero where it rounds to zero."""
    if fraction is None:
        return NONE
    text = f"{100 * fraction:+.{digits}f}".replace("-", "\N{MINUS SIGN}")
    return text if any(digit in "123456789" for digit in text) else f"{0:.{digits}f}"


def times(value: float | None) -> str:
    """Return a ratio with two digits and the sign for times."""
    return NONE if value is None else f"{value:.2f}\N{MULTIPLICATION SIGN}"


def megabytes(value: float | None) -> str:
    """Return a size in MB (10^6 bytes)."""
    return NONE if value is None else f"{value:.2f}" if value < 10 else f"{value:.1f}"


def size_text(pixels: tuple[int, int] | None) -> str:
    """Return (height, width) as height times width."""
    return NONE if pixels is None else f"{pixels[0]} \N{MULTIPLICATION SIGN} {pixels[1]}"


def listed(values: Iterable[str]) -> str:
    """Return the distinct values in order, as "a, b and c"."""
    kinds = list(dict.fromkeys(values))
    return kinds[0] if len(kinds) == 1 else f"{', '.join(kinds[:-1])} and {kinds[-1]}" if kinds else ""
