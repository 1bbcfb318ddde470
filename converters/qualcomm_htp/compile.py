"""The compiler: ONNX Runtime's QNN provider writes a context binary inside an ONNX file, in its own environment."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from edgeseg.core.conversion_report import conversion_report
from edgeseg.core.exported import Conversion
from edgeseg.core.placement import CPU, OpPlacement
from edgeseg.core.quantization import Precision
from edgeseg.core.requirements import require_modules
from edgeseg.core.suggestions import unknown
from edgeseg.core.vendor_process import tool_logs
from edgeseg.errors import ConversionError
from edgeseg.toolchains import call_toolchain, require_toolchain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeseg.core.artifact import Artifact

QNN_TOOLCHAIN = "onnxruntime-qnn"
QNN_ENTRY = "model.qnn.onnx"
QNN_FORMAT = "qnn-context"
HEXAGONS = ("68", "69", "73", "75", "79", "81")
FINALIZATION = ("0", "1", "2", "3")
QNN_OPTIONS = MappingProxyType(
    {
        "htp_arch": "Hexagon version: 68 (QCS6490), 73 (X Elite), 75 (8 Gen 3, default), 79 (8 Elite), 81",
        "optimization": "how long QNN searches for a faster graph: 0 (its default) to 3",
    }
)
_TIME_LIMIT_S = 1800.0
_PAIRS = ("QuantizeLinear", "DequantizeLinear")
_ON_CPU = "QNN does not take it; ONNX Runtime runs it on the CPU"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """What tool.py returns."""

    versions: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class HtpCompiler:
    """Produces `model.qnn.onnx`, an ONNX file of EPContext nodes, which runs on the chip and on the simulator."""

    name: str = QNN_TOOLCHAIN
    title: str = "Qualcomm QNN"
    suffix: str = ".onnx"
    reads: str = "htp-onnx"
    format: str = QNN_FORMAT
    precisions: tuple[Precision, ...] = ("int8", "a16w8")
    options: Mapping[str, str] = field(default_factory=lambda: QNN_OPTIONS)

    def check(self) -> None:
        """Check that QNN's toolchain is installed; raises `MissingDependency` with the command that installs it."""
        require_toolchain(QNN_TOOLCHAIN)
        require_modules(("onnx",), what="Compiling for Qualcomm HTP", extra="convert-onnx")

    def compile(self, artifact: Artifact, *, folder: Path, options: Mapping[str, str]) -> Conversion:
        """Write the context binary into `folder`.

        Raises:
            UnknownName: an option's value that QNN does not have.
            ConversionError: QNN failed, with its last lines, or takes nothing of the net.
        """
        started = time.perf_counter()
        arguments = qnn_arguments(options)
        answer = call_toolchain(
            _Answer,
            QNN_TOOLCHAIN,
            Path(__file__).with_name("tool.py"),
            {"source": str(artifact.entry), "target": str(folder / QNN_ENTRY), "options": arguments},
            name=self.title,
            log_folder=tool_logs(),
            time_limit_s=_TIME_LIMIT_S,
        )
        ops = placed_on_htp(artifact, left=_nodes_in(folder / QNN_ENTRY))
        if all(op.unit == CPU for op in ops):
            raise ConversionError(f"{artifact.folder}: QNN takes none of the net's {len(ops)} ops.")
        manifest = artifact.manifest
        return Conversion(
            entry=QNN_ENTRY,
            input=manifest.inputs[0],
            output=manifest.outputs[0],
            scheme=manifest.scheme,
            preprocess=manifest.preprocess,
            ops=ops,
            provable_by=("qnn", "qnn-simulator"),
            report=conversion_report(ops, tools=("onnx",), started=started, others=answer.versions),
        )


def qnn_arguments(options: Mapping[str, str]) -> dict[str, str]:
    """Return the QNN provider's options for the compiler's.

    Raises:
        UnknownName: a value that QNN does not have.
    """
    architecture = options.get("htp_arch", "75")
    if architecture not in HEXAGONS:
        raise unknown("Hexagon version (htp_arch)", architecture, HEXAGONS)
    level = options.get("optimization", "0")
    if level not in FINALIZATION:
        raise unknown("value of optimization", level, FINALIZATION)
    return {"htp_arch": architecture, "htp_graph_finalization_optimization_mode": level}


def placed_on_htp(artifact: Artifact, *, left: dict[str, str]) -> tuple[OpPlacement, ...]:
    """Return the ops of the source's file with their unit: on the CPU is what lies beside the binary, op by name."""
    known = {item.node: item for item in artifact.manifest.placements}
    nodes = {name: op for name, op in _nodes_in(artifact.entry).items() if op not in _PAIRS or name in left}
    return tuple(
        OpPlacement(
            op=op,
            node=name,
            unit=CPU if name in left else "npu",
            dtype=known[name].dtype if name in known else "",
            reason=_ON_CPU if name in left else known[name].reason if name in known else "",
        )
        for name, op in {**nodes, **left}.items()
    )


def _nodes_in(path: Path) -> dict[str, str]:
    """Return the op of each node by its name, or by its output where it has none; without context binaries."""
    import onnx

    nodes = onnx.load(path).graph.node
    return {node.name or node.output[0]: node.op_type for node in nodes if node.op_type != "EPContext"}
