"""Checks of every conversion before its manifest is sealed: the files that it names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeseg.errors import ConversionError

if TYPE_CHECKING:
    from pathlib import Path

    from edgeseg.core.exported import Conversion


def check_conversion(conversion: Conversion, *, folder: Path, name: str) -> None:
    """Raise `ConversionError` unless the files that a conversion names lie in its folder."""
    root = folder.resolve()
    for path in (conversion.entry, *conversion.files):
        found = (root / path).resolve()
        if not path or root not in found.parents or not found.exists():
            raise ConversionError(f"{name}: reports that it wrote {path or 'nothing'}, which is not in its folder.")
