"""Where the ops of a file run: on XNNPACK in int8 or float, or on portable kernels, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeseg.converters.executorch.xnnpack_graph import FLOAT32_TYPE, INT8_TYPE, Step, XnnpackGraph
from edgeseg.core.placement import OpPlacement

if TYPE_CHECKING:
    from edgeseg.converters.executorch.stored import Stored

# Quantize, dequantize and copies: the borders between ops.
_PLUMBING = ("Convert", "Copy")
_WEIGHTED = ("Conv2d", "DepthwiseConv2d", "FullyConnected")
PORTABLE = "XNNPACK has no kernel for it; ExecuTorch's portable one runs it on one thread"
NOT_FUSED = "XNNPACK's partitioner did not fuse it with its quantize/dequantize pairs"
IN_FLOAT_ONLY = "ExecuTorch hands it to XNNPACK in float only"
_NOT_PLANNED = "float by plan: it normalises the image, or is part of a hard-swish or a gate"
_REASONS = {
    "_to_dim_order_copy": "converts the image's bytes to float; XNNPACK computes the rest",
    "StaticTranspose": "transposes values that are not quantized yet, or no longer",
    "StaticResizeBilinear2D": IN_FLOAT_ONLY,
    "AvgPooling2d": IN_FLOAT_ONLY,
}


def census(stored: Stored, *, int8: bool) -> tuple[OpPlacement, ...]:
    """Return the computing ops of a file that was read with `read_stored`, by what runs them.

    Ops on portable kernels always have a reason, and with `int8` those that XNNPACK computes in float.
    """
    portable = [
        OpPlacement(op=name, node=f"kernel call {index}", unit="portable", reason=_REASONS.get(name, PORTABLE))
        for index, name in enumerate(kernel.split("::")[-1] for kernel in stored.kernels)
    ]
    delegated = [
        _delegated(graph, step, int8=int8)
        for graph in stored.graphs
        for step in graph.steps
        if step.kind not in _PLUMBING
    ]
    return (*portable, *delegated)


def _delegated(graph: XnnpackGraph, step: Step, *, int8: bool) -> OpPlacement:
    in_int8 = _computes_in_int8(graph, step)
    reason = NOT_FUSED if step.kind in _WEIGHTED else _REASONS.get(step.kind, _NOT_PLANNED)
    return OpPlacement(
        op=step.kind,
        node=f"tensor {step.writes}",
        unit="xnnpack",
        dtype=INT8_TYPE if in_int8 else FLOAT32_TYPE,
        reason=reason if int8 and not in_int8 else "",
    )


def _computes_in_int8(graph: XnnpackGraph, step: Step) -> bool:
    tensors = [graph.tensors.get(number) for number in (*step.reads, step.writes)]
    return all(tensor is not None and tensor.dtype.startswith(INT8_TYPE) for tensor in tensors)
