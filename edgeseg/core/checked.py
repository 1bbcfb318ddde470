"""Checks of a record's numbers; the error names the wrong field."""

from __future__ import annotations

import math


def check_number(name: str, value: float | None, *, low: float = 0.0, high: float = math.inf) -> None:
    """Raise `ValueError` naming the field unless `value` is finite and within [low, high]; None passes."""
    if value is None:
        return
    if not math.isfinite(value) or not low <= value <= high:
        wanted = f"at least {low:g}" if high == math.inf else f"{low:g} to {high:g}"
        raise ValueError(f"{name} is {value:g}; it must be {wanted}.")
