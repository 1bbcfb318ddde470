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
"""Several engines' libraries crash with more threads, and no edge device has that many cores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedBackend:
    """A target's choice for one artifact, stored in its manifest so that the runtime needs no target file.

    `delegate` is one that the engine declares; empty means the engine's default. `threads` is None where the target
    does not set it; the runtime then uses the device's cores, up to four. `options` are engine settings by name.
    """

    engine: str
    delegate: str = ""
    threads: int | None = field(default=None, metadata=bounds(low=1, high=MOST_THREADS))
    options: dict[str, str] = field(default_factory=dict)


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
