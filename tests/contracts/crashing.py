"""What a crafted model file does to the process that opens it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def segfault(folder: Path, **_: object) -> int:
    """Read address 0."""
    import ctypes

    return ctypes.string_at(0)[0] + len(str(folder))
