"""A device as data: `Target` holds its `Backend`s in order of preference (`targets/*.toml`)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgeseg.core.quantization import Precision


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """A target's choice of format, engine and delegate, with the precisions that it runs well, best first.

    Its kernels compute channels in blocks of `channel_multiple`: pruning to other counts saves nothing there.
    """

    format: str
    engine: str
    schemes: tuple[Precision, ...]
    delegate: str = "cpu"
    threads: int = 1
    unsupported_ops: tuple[str, ...] = ()
    channel_multiple: int = 1
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One device. `verified` says what of it was really run, in plain words; memory in MB."""

    schema: int
    name: str
    title: str
    soc: str
    arch: str
    memory_mb: int
    backends: tuple[Backend, ...]
    cameras: tuple[str, ...] = ()
    verified: str = ""

    @property
    def channel_multiple(self) -> int:
        """The channel counts that suit every backend are multiples of this."""
        return math.lcm(*(backend.channel_multiple for backend in self.backends))

    def __post_init__(self) -> None:
        if self.schema != 1:
            raise ValueError(f"schema {self.schema} is not known to this version; it reads schema 1.")
        if not self.backends:
            raise ValueError("a target needs at least one [[backends]] table.")
        if any(backend.channel_multiple < 1 for backend in self.backends):
            raise ValueError("channel_multiple is 1 or more.")
