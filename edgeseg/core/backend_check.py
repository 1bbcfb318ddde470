"""A backend's delegate and options, checked against what its engine declares."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeseg.core.suggestions import unknown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeseg.core.protocols import Engine


def check_backend(engine: Engine, *, delegate: str, options: Mapping[str, str]) -> None:
    """Check a delegate (empty for the default) and options against what the engine declares.

    Raises:
        UnknownName: the engine has no such delegate, option or value; names the nearest one.
    """
    if delegate and delegate not in engine.delegates:
        raise unknown(f"delegate of {engine.name}", delegate, engine.delegates)
    for name, value in options.items():
        if name not in engine.choices:
            raise unknown(f"option of {engine.name}", name, engine.choices)
        if engine.choices[name] and value not in engine.choices[name]:
            raise unknown(f"{name} of {engine.name}", value, engine.choices[name])
