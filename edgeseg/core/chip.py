"""What an accelerator computes, as data: `Chip`, from `targets/chips/NAME.toml`, and `OpLimits` of one op on it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from edgeseg.core.records import bounds

_SCHEMA = 1
VIEWS = (
    "view", "reshape", "flatten", "unflatten", "permute", "transpose", "unsqueeze", "squeeze", "expand", "slice",
    "select", "split", "split_with_sizes", "chunk", "unbind", "pixel_shuffle", "pixel_unshuffle",
)  # fmt: skip
"""Ops that only move or rename values; a chip's `views` says whether it has them at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpLimits:
    """OpLimits of one op: a value beyond one of them runs elsewhere. Zero or empty means no limit.

    `factors` are the scale factors of a resize that the chip has, `max_factor` the largest, `whole_factors` allows
    powers of two, and `equal_factors` requires the same in both directions. `max_kernel` counts cells of one side,
    `max_area` of both together; `max_reduced` counts the cells that a mean or a pool takes together, `max_plane` height
    times width of a tensor (4 dimensions). `max_depthwise_stride` is for depthwise convolutions and
    `max_padded_stride` for ops with padding, each beside `max_stride`. `spatial_only` excludes means over the channels
    of a map. `why` and `instead` are shown.
    """

    max_rank: int = field(default=0, metadata=bounds(low=0))
    max_size: int = field(default=0, metadata=bounds(low=0))
    max_channels: int = field(default=0, metadata=bounds(low=0))
    max_kernel: int = field(default=0, metadata=bounds(low=0))
    max_area: int = field(default=0, metadata=bounds(low=0))
    max_reduced: int = field(default=0, metadata=bounds(low=0))
    max_plane: int = field(default=0, metadata=bounds(low=0))
    max_stride: int = field(default=0, metadata=bounds(low=0))
    max_depthwise_stride: int = field(default=0, metadata=bounds(low=0))
    max_padded_stride: int = field(default=0, metadata=bounds(low=0))
    max_dilation: int = field(default=0, metadata=bounds(low=0))
    strides: tuple[int, ...] = ()
    factors: tuple[float, ...] = ()
    max_factor: float = field(default=0, metadata=bounds(low=0))
    whole_factors: bool = False
    equal_factors: bool = False
    spatial_only: bool = False
    align_corners: Literal["any", "never", "always"] = "any"
    groups: Literal["any", "one", "depthwise"] = "any"
    why: str = ""
    instead: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chip:
    """One accelerator.

    `source` says where the chip's ops are documented and `dated` when this table was written. `evidence` says how far
    the table can be trusted: compared with what the vendor's compiler placed, taken from the document, or unchecked,
    written from general knowledge of the chip and not yet compared with its source, except for the facts in `verified`,
    each with the document that says so. `ops` run without limits,
    `limits` within those given, `every` limits all of them; ops are named as in PyTorch's ATen. `instead` says what to
    do about an op that the chip lacks. `elsewhere` is what happens to such an op: it runs on the CPU, or the compiler
    refuses the whole net. With `prefix_only` the compiler maps ops up to the first that it lacks. `float16` says that
    values beyond 65504 overflow. The int8 files that edgeseg makes for the chip leave the ops `in_float` in float, and
    with `numbers_in_float` sums and products with a number: the chip has their int8 forms, and never gets them.
    `memory_kib` is the fast memory for activations, 0 where it does not matter; with `holds_weights` the weights lie
    there too. `overflow` says what happens when it is too small.
    """

    schema: int
    name: str
    title: str
    unit: Literal["npu", "gpu"]
    source: str
    dated: str
    evidence: Literal["compiler", "document", "unchecked"]
    bits: int = field(metadata=bounds(low=8, high=32))
    elsewhere: Literal["cpu", "refused"]
    ops: tuple[str, ...]
    limits: dict[str, OpLimits] = field(default_factory=dict)
    every: OpLimits = field(default_factory=OpLimits)
    instead: dict[str, str] = field(default_factory=dict)
    verified: tuple[str, ...] = ()
    prefix_only: bool = False
    float16: bool = False
    numbers_in_float: bool = False
    in_float: tuple[str, ...] = ()
    memory_kib: int = field(default=0, metadata=bounds(low=0))
    holds_weights: bool = False
    overflow: Literal["slower", "refused"] = "slower"

    def __post_init__(self) -> None:
        if self.schema != _SCHEMA:
            raise ValueError(f"schema {self.schema} is not known to this version; it reads schema {_SCHEMA}.")
        twice = set(self.ops) & set(self.limits)
        if twice:
            raise ValueError(f"{sorted(twice)[0]} is in both ops and limits.")


@dataclass(frozen=True, slots=True, kw_only=True)
class OpFacts:
    """One computing op of an exported graph, as far as chips care.

    `op` is its ATen name, `layer` the path of the module that calls it, `shapes` those of its tensors read, `output`
    the shape that it makes. `kernel`, `stride`, `padding`, `dilation` are of convolutions and pools, `factors` of
    resizes, `reduced` counts the cells that one value is made of, and `over_channels` says that these are channels of a
    map. `peak` is the largest absolute value seen, None if not run.
    """

    op: str
    node: str
    layer: str
    shapes: tuple[tuple[int, ...], ...]
    output: tuple[int, ...]
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    groups: int = 1
    factors: tuple[float, ...] = ()
    align_corners: bool = False
    reduced: int = 1
    over_channels: bool = False
    peak: float | None = None
