"""What OpenVINO really runs: the CPU plug-in's own graph with the precision of every node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeseg.core.artifact import Fallback
from edgeseg.core.openvino_core import openvino_core
from edgeseg.errors import ConversionError

if TYPE_CHECKING:
    from pathlib import Path

    import openvino

INTEGER = ("u8", "i8")
# Nodes that hold, name or reorder tensors and compute nothing.
BORDERS = ("Const", "Input", "Output", "Reorder", "Reshape")
REASONS = {
    "Interpolate": "OpenVINO's CPU plug-in resizes bilinearly in float",
    "Subgraph": "elementwise ops fused into one float kernel: pixel normalisation, hard-swish or gates",
    "Eltwise": "elementwise op that the plug-in left in float: pixel normalisation, hard-swish or gates",
    "Math": "hard-sigmoid has no int8 kernel",
    "Reduce": "the plug-in averages in float here",
    "Pooling": "the plug-in averages in float here",
}
OTHER = "the CPU plug-in chose float for it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Executed:
    """The compiled graph in numbers: nodes that compute, those on 8-bit integers, and the float rest."""

    ops_total: int
    ops_quantized: int
    fallbacks: tuple[Fallback, ...]


def executed_graph(path: Path) -> Executed:
    """Return what the CPU plug-in makes of the IR on this machine, in float32 where it is not quantized.

    Raises:
        ConversionError: it does not compile, in OpenVINO's own words.
    """
    try:
        compiled = openvino_core().compile_model(
            str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
        )
        nodes = [_describe(node) for node in compiled.get_runtime_model().get_ops()]
    except RuntimeError as error:
        raise ConversionError(f"{path.name}: OpenVINO cannot compile it: {error}") from error
    working = [node for node in nodes if node[0] not in BORDERS]
    floating = [node for node in working if node[1] not in INTEGER]
    return Executed(
        ops_total=len(working),
        ops_quantized=len(working) - len(floating),
        fallbacks=tuple(Fallback(op=kind, node=name, reason=REASONS.get(kind, OTHER)) for kind, _, name in floating),
    )


def _describe(node: openvino.Node) -> tuple[str, str, str]:
    """Return a node's (layer type, precision that it computes in, name)."""
    info = node.get_rt_info()
    kind, precision = (info[key].astype(str) for key in ("layerType", "runtimePrecision"))
    return kind, precision, node.get_friendly_name()
