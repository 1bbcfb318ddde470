"""What became of the ops: how many XNNPACK computes, how many of them in int8, and what is left to portable kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeseg.converters.executorch.xnnpack_graph import INT8, Step, XnnpackGraph
from edgeseg.core.artifact import Fallback

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeseg.converters.executorch.stored import Stored

# Quantize, dequantize and copies: the borders between ops.
PLUMBING = ("Convert", "Copy")
WEIGHTED = ("Conv2d", "DepthwiseConv2d", "FullyConnected")
PORTABLE = "XNNPACK has no kernel for it; ExecuTorch's portable one runs it on one thread"
NOT_FUSED = "XNNPACK's partitioner did not fuse it with its quantize/dequantize pairs"
IN_FLOAT_ONLY = "ExecuTorch hands it to XNNPACK in float only"
NOT_PLANNED = "float by plan: it normalises the image, or is part of a hard-swish or a gate"
REASONS = {
    "_to_dim_order_copy": "turns the image's bytes into numbers; XNNPACK takes it from there",
    "StaticTranspose": "moves numbers that are not quantized yet, or not any more",
    "StaticResizeBilinear2D": IN_FLOAT_ONLY,
    "AvgPooling2d": IN_FLOAT_ONLY,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Census:
    """Computing ops of a file: all, those that XNNPACK computes, those of them in int8, and the rest with reasons.

    Where int8 was asked for, `fallbacks` holds what computes in float, else what is left to portable kernels.
    """

    total: int
    delegated: int
    quantized: int
    fallbacks: tuple[Fallback, ...]


def census(stored: Stored, *, int8: bool) -> Census:
    """Return the census of a file that was read with `read_stored`."""
    delegated = [(graph, step) for graph in stored.graphs for step in graph.steps if step.kind not in PLUMBING]
    in_float = [step for graph, step in delegated if not _computes_in_int8(graph, step)]
    portable = [name.split("::")[-1] for name in stored.kernels]
    left = list(_left_to_portable(portable))
    return Census(
        total=len(delegated) + len(portable),
        delegated=len(delegated),
        quantized=len(delegated) - len(in_float) if int8 else 0,
        fallbacks=(*left, *(_in_float(step) for step in in_float)) if int8 else tuple(left),
    )


def _computes_in_int8(graph: XnnpackGraph, step: Step) -> bool:
    tensors = [graph.tensors.get(number) for number in (*step.reads, step.writes)]
    return all(tensor is not None and tensor.dtype.startswith(INT8) for tensor in tensors)


def _left_to_portable(names: list[str]) -> Iterator[Fallback]:
    for index, name in enumerate(names):
        yield Fallback(op=name, node=f"kernel call {index}", reason=REASONS.get(name, PORTABLE))


def _in_float(step: Step) -> Fallback:
    reason = NOT_FUSED if step.kind in WEIGHTED else REASONS.get(step.kind, NOT_PLANNED)
    return Fallback(op=step.kind, node=f"tensor {step.writes}", reason=reason)
