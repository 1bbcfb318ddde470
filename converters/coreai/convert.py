"""The converter: the exported program through coreai-torch, in the toolchain's environment."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from pathlib import Path

from edgeseg.core.conversion_report import conversion_report
from edgeseg.core.exported import Conversion, ExportedModel, Part
from edgeseg.core.placement import OpPlacement
from edgeseg.core.protocols import Normalisation
from edgeseg.core.quantization import Precision
from edgeseg.core.requirements import require_modules
from edgeseg.core.vendor_process import tool_logs
from edgeseg.toolchains import call_toolchain, require_toolchain

COREAI_TOOLCHAIN = "coreai"
ENTRY = "model.aimodel"
_TIME_LIMIT_S = 1800.0
USAGE = """import asyncio

import coreai.runtime  # runs on macOS 27 only; pip install coreai-core

async def infer(tensor):
    model = await coreai.runtime.AIModel.load("{entry}")
    results = await model.load_function("main")({{"{input}": coreai.runtime.NDArray(tensor)}})
    return results["{output}"].numpy()

output = asyncio.run(infer(tensor))"""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _PlacedOp:
    op: str
    node: str
    dtype: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """What tool.py returns."""

    versions: dict[str, str]
    ops: tuple[_PlacedOp, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CoreAIConverter:
    """Produces `model.aimodel`, a folder, for macOS 27, iOS 27 and later.

    There is no int8: coreai-torch takes no quantize and dequantize ops of PyTorch.
    """

    format: str = "coreai"
    title: str = "Core AI"
    suffix: str = ".aimodel"
    engines: tuple[str, ...] = ("coreai-reference",)
    extra: str = "train"
    precisions: tuple[Precision, ...] = ("fp32", "fp16")
    reads: tuple[Part, ...] = ("program",)
    normalisation: tuple[Normalisation, ...] = ("graph", "host")
    usage: str = USAGE

    def check(self) -> None:
        """Check that torch and the toolchain are installed.

        Raises:
            MissingDependency: one of them is not, with the command that installs it.
        """
        require_modules(("torch",), what="Converting to Core AI", extra=self.extra)
        require_toolchain(COREAI_TOOLCHAIN)

    def convert(self, exported: ExportedModel, *, folder: Path) -> Conversion:
        """Write `model.aimodel` into `folder`. In fp16, weights and activations are float16, the logits float32.

        Raises:
            ConversionError: coreai-torch failed, with its last lines.
        """
        import torch

        from edgeseg.converters.coreai.half import in_half

        started = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="edgeseg-") as work:
            source = Path(work) / "program.pt2"
            program = in_half(exported) if exported.scheme.mode == "fp16" else exported.program()
            torch.export.save(program, source)
            answer = call_toolchain(
                _Answer,
                COREAI_TOOLCHAIN,
                Path(__file__).with_name("tool.py"),
                {
                    "source": str(source),
                    "target": str(folder / ENTRY),
                    "input": exported.input.name,
                    "output": exported.output.name,
                },
                name=self.title,
                log_folder=tool_logs(),
                time_limit_s=_TIME_LIMIT_S,
            )
        # Core AI chooses the compute unit on the device.
        ops = tuple(OpPlacement(op=op.op, node=op.node, unit="coreai", dtype=op.dtype) for op in answer.ops)
        return Conversion(
            entry=ENTRY,
            input=exported.input,
            output=exported.output,
            scheme=exported.scheme,
            preprocess=exported.preprocess,
            ops=ops,
            provable_by=self.engines,
            report=conversion_report(ops, tools=("torch",), started=started, others=answer.versions),
        )
