"""What OpenVINO executes: the CPU plug-in's own graph with the precision of every node."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeseg.core.openvino_core import openvino_core
from edgeseg.core.placement import OpPlacement
from edgeseg.errors import ConversionError

if TYPE_CHECKING:
    from pathlib import Path

    import openvino

INTEGER = ("u8", "i8")
# OpenVINO's names of types; label maps are i32, which computes on indices and is not quantized.
_DTYPES = {"u8": "uint8", "i8": "int8", "f32": "float32", "f16": "float16", "bf16": "bfloat16", "i32": ""}
# Nodes that hold, name or reorder tensors and compute nothing.
_BORDERS = ("Const", "Input", "Output", "Reorder", "Reshape")
_REASONS = {
    "Interpolate": "OpenVINO's CPU plug-in resizes bilinearly in float",
    "Subgraph": "elementwise ops fused into one float kernel: pixel normalisation, hard-swish or gates",
    "Eltwise": "elementwise op that the plug-in left in float: pixel normalisation, hard-swish or gates",
    "Math": "hard-sigmoid has no int8 kernel",
    "Reduce": "the plug-in averages in float here",
    "Pooling": "the plug-in averages in float here",
}
_OTHER = "the CPU plug-in chose float for it"


def executed_graph(path: Path, *, int8: bool) -> tuple[OpPlacement, ...]:
    """Return the nodes that compute once the CPU plug-in has compiled the IR on this machine.

    Nodes that are not quantized compute in float32; with `int8` they have a reason.

    Raises:
        ConversionError: it does not compile; with OpenVINO's message.
    """
    try:
        compiled = openvino_core().compile_model(
            str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
        )
        nodes = [_describe(node) for node in compiled.get_runtime_model().get_ops()]
    except RuntimeError as error:
        raise ConversionError(f"{path.name}: OpenVINO cannot compile it: {error}") from error
    return tuple(
        OpPlacement(
            op=kind,
            node=name,
            unit="cpu",
            # In a float net only the image's bytes are integers, and nothing is quantized.
            dtype=_DTYPES.get(precision, precision) if int8 or precision not in INTEGER else "",
            reason=_REASONS.get(kind, _OTHER) if int8 and precision not in INTEGER else "",
        )
        for kind, precision, name in nodes
        if kind not in _BORDERS
    )


def _describe(node: openvino.Node) -> tuple[str, str, str]:
    """Return a node's (layer type, precision that it computes in, name)."""
    info = node.get_rt_info()
    kind, precision = (info[key].astype(str) for key in ("layerType", "runtimePrecision"))
    return kind, precision, node.get_friendly_name()
