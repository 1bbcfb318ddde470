"""Class names that training codes keep beside the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_TABLES = ("meta", "dataset_meta")
_KEYS = ("classes", "CLASSES")


def class_names(path: Path, *, count: int) -> tuple[str, ...]:
    """Return the names of `count` classes that a .pth file holds in its `meta`, as mmsegmentation's do; else nothing.

    The file is read as its weights are, with weights_only=True.
    """
    import torch

    if path.suffix == ".safetensors":
        return ()
    found: object = torch.load(path, map_location="cpu", weights_only=True)
    for table in _TABLES:
        if isinstance(found, dict) and isinstance(found.get(table), dict):
            found = found[table]
    names = next((found[key] for key in _KEYS if key in found), ()) if isinstance(found, dict) else ()
    if not isinstance(names, list | tuple) or len(names) != count or len({*map(str, names)}) != count:
        return ()
    return tuple(str(name) for name in names)
