"""Which engine runs an artifact and how: `ResolvedBackend`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgeseg.core.records import bounds
from edgeseg.core.suggestions import unknown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeseg.core.protocols import Engine

MOST_THREADS = 256
"""More end the process in several engines' libraries, and no edge device has as many cores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedBackend:
    """A target's choice for one artifact, kept in its manifest: the runtime needs no target file.

    `delegate` is one that the engine declares, empty for the engine's default. `threads` is None where the target sets
    none; the runtime then takes the device's cores, up to four. `options` are settings of the engine by name.
    """

    engine: str
    delegate: str = ""
    threads: int | None = field(default=None, metadata=bounds(low=1, high=MOST_THREADS))
    options: dict[str, str] = field(default_factory=dict)


def check_backend(engine: Engine, *, delegate: str, options: Mapping[str, str]) -> None:
    """Check a delegate (empty for the default) and options against what the engine declares.

    Raises:
        UnknownName: a delegate, option or value that the engine does not have, with the nearest one.
    """
    if delegate and delegate not in engine.delegates:
        raise unknown(f"delegate of {engine.name}", delegate, engine.delegates)
    for name, value in options.items():
        if name not in engine.choices:
            raise unknown(f"option of {engine.name}", name, engine.choices)
        if engine.choices[name] and value not in engine.choices[name]:
            raise unknown(f"{name} of {engine.name}", value, engine.choices[name])
