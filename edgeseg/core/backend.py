"""Which engine runs an artifact and how: `ResolvedBackend`."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgeseg.core.records import bounds

MAX_THREADS = 256
"""Several engines' libraries crash with more threads, and no edge device has that many cores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedBackend:
    """A target's choice for one artifact, stored in its manifest so that the runtime needs no target file.

    `delegate` is one that the engine declares; empty means the engine's default. `threads` is None where the target
    does not set it; the runtime then uses the device's cores, up to four. `options` are engine settings by name.
    """

    engine: str
    delegate: str = ""
    threads: int | None = field(default=None, metadata=bounds(low=1, high=MAX_THREADS))
    options: dict[str, str] = field(default_factory=dict)
