"""A device as data: a `Target` lists its `Backend`s in order of preference (`targets/*.toml`)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from edgeseg.core.backend import MAX_THREADS
from edgeseg.core.quantization import SCHEMES, Precision
from edgeseg.core.quantization_rules import QuantizationOverrides
from edgeseg.core.records import bounds
from edgeseg.core.suggestions import unknown

_SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """A target's choice of format, engine and delegate, with the precisions that it runs well, best first.

    `delegate` and `options` are ones that the engine declares; if empty, the engine's defaults apply. A `format` that a
    compiler makes is converted and then compiled with `compile_options`. `normalisation` says where pixels are
    normalised, if the backend needs one of the two: chips that compute in integers alone want the host. `chip` names
    the capability table (`targets/chips`) that `edgeseg check` compares with, and `chip_memory_kib` the fast memory
    that the chip has on this device, if it differs from the table's. `left_out` names the tool that compiles for that
    chip and that edgeseg does not install (`toolchains/left_out`); `convert` then says so. Kernels process
    channels in blocks of `channel_multiple`: pruning to other counts saves nothing.
    """

    format: str
    engine: str
    schemes: tuple[Precision, ...] = field(metadata=bounds(items=(1, None)))
    delegate: str = ""
    threads: int = field(default=1, metadata=bounds(low=1, high=MAX_THREADS))
    options: dict[str, str] = field(default_factory=dict)
    channel_multiple: int = field(default=1, metadata=bounds(low=1, high=1024))
    quantization: QuantizationOverrides | None = None
    normalisation: Literal["", "graph", "host"] = ""
    compile_options: dict[str, str] = field(default_factory=dict)
    chip: str = ""
    chip_memory_kib: int = field(default=0, metadata=bounds(low=0))
    left_out: str = ""
    reason: str = ""

    REMOVED: ClassVar[dict[str, str]] = {
        "unsupported_ops": "delete it. It was never used; each artifact's manifest lists where its ops run, and why."
    }

    def __post_init__(self) -> None:
        for scheme in self.schemes:
            if scheme not in SCHEMES:
                raise ValueError(str(unknown("precision in schemes", scheme, SCHEMES)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One device. `cameras` lists the kinds of source it supports, `verified` says what was run on it."""

    schema: int
    name: str
    title: str
    soc: str
    arch: str
    memory_mb: int = field(metadata=bounds(low=1))
    backends: tuple[Backend, ...] = field(metadata=bounds(items=(1, None)))
    cameras: tuple[str, ...] = ()
    verified: str = ""

    @property
    def channel_multiple(self) -> int:
        """The smallest channel multiple that suits every backend."""
        return math.lcm(*(backend.channel_multiple for backend in self.backends))

    def __post_init__(self) -> None:
        if self.schema != _SCHEMA:
            raise ValueError(f"schema {self.schema} is not known to this version; it reads schema {_SCHEMA}.")
