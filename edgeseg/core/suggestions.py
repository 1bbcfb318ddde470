"""Errors for unknown names, with the nearest known name."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from edgeseg.errors import UnknownName

if TYPE_CHECKING:
    from collections.abc import Iterable

LISTED = 20
"""Further known names are only counted, to keep errors readable for nets with hundreds of layers."""

LONGEST = 200
"""Longer texts are not misspelt names, and comparing them takes minutes."""


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return ' Did you mean "x"?' for the nearest known name, or an empty string.

    >>> suggestion("tflit", ["tflite", "onnx"])
    ' Did you mean "tflite"?'
    """
    if len(name) > LONGEST:
        return ""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f' Did you mean "{near[0]}"?' if near else ""


def unknown(kind: str, name: str, known: Iterable[str]) -> UnknownName:
    """Return (not raise) the error for a `name` that is not in `known`; `kind` is what it should name."""
    names = sorted(known)
    more = f", and {len(names) - LISTED} more" if len(names) > LISTED else ""
    listed = ", ".join(names[:LISTED]) + more if names else "none"
    short = name if len(name) <= LONGEST else name[:LONGEST] + "..."
    return UnknownName(f'Unknown {kind} "{short}".{suggestion(name, names)} Known: {listed}.')
