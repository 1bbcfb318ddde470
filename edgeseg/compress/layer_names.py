"""Checks the layer names in a recipe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeseg.core.suggestions import unknown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import nn


def check_layers(keep: Iterable[str], net: nn.Module) -> None:
    """Raise `UnknownName` for a layer in `keep` that the net does not have, with the nearest one."""
    names = [name for name, _ in net.named_modules() if name]
    for layer in keep:
        if layer not in names:
            raise unknown("layer to keep", layer, names)
