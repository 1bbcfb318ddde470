"""The compiler: one call of Vela in its own environment, its placement and its estimate in edgeseg's terms."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from edgeseg.core.conversion_report import conversion_report
from edgeseg.core.exported import Conversion
from edgeseg.core.placement import CPU, CompilerEstimate, OpPlacement
from edgeseg.core.quantization import Precision
from edgeseg.core.suggestions import unknown
from edgeseg.core.vendor_process import tool_logs
from edgeseg.errors import ConversionError, InputError
from edgeseg.toolchains import call_toolchain, require_toolchain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeseg.core.artifact import Artifact

TOOLCHAIN = "ethos-u-vela"
ENTRY = "model.tflite"
FORMAT = "ethos-u"
ACCELERATORS = (
    "ethos-u55-32", "ethos-u55-64", "ethos-u55-128", "ethos-u55-256", "ethos-u65-256", "ethos-u65-512", "ethos-u85-128",
    "ethos-u85-256", "ethos-u85-512", "ethos-u85-1024", "ethos-u85-2048",
)  # fmt: skip
DEFAULTS = MappingProxyType(
    {
        "ethos-u55": ("Ethos_U55_High_End_Embedded", "Shared_Sram"),
        "ethos-u65": ("Ethos_U65_High_End", "Dedicated_Sram"),
        "ethos-u85": ("Ethos_U85_SYS_DRAM_Mid", "Dedicated_Sram_384KB"),
    }
)
"""System configuration and memory mode of Vela's own vela.ini that each family gets if none is given."""
VELA_OPTIONS = MappingProxyType(
    {
        "accelerator": f"the NPU and its MACs per cycle: {ACCELERATORS[3]} (default), {ACCELERATORS[5]}, ...",
        "system_config": "clock and memory speeds, a [System_Config.NAME] of Vela's vela.ini",
        "memory_mode": "where weights and activations lie, a [Memory_Mode.NAME] of Vela's vela.ini",
        "arena_cache_kib": "SRAM that the NPU may use, in KiB",
        "optimise": "Performance (default) or Size, which needs less SRAM",
    }
)
TIME_LIMIT_S = 1200.0
_FIXES = MappingProxyType(
    {
        "RESIZE_BILINEAR": "Resize by 2 (several times if needed), which the NPU has, or choose a head without it",
        "HARD_SWISH": 'Replace it with ReLU (a "swap" stage in a recipe)',
    }
)
"""What to change in the net for an op that stays on the CPU."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """What tool.py returns."""

    version: str
    ops: tuple[OpPlacement, ...]
    configuration: str
    latency_ms: float
    clock_mhz: float
    cycles: float
    sram_kib: float
    dram_kib: float
    flash_kib: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EthosUCompiler:
    """Produces a TFLite file whose operators for the NPU are one or more `ethos-u` custom operators."""

    name: str = TOOLCHAIN
    title: str = "Arm Vela"
    suffix: str = ".tflite"
    reads: str = "tflite"
    format: str = FORMAT
    precisions: tuple[Precision, ...] = ("int8",)
    options: Mapping[str, str] = field(default_factory=lambda: VELA_OPTIONS)

    def check(self) -> None:
        """Check that Vela's toolchain is installed; raises `MissingDependency` with the command that installs it."""
        require_toolchain(TOOLCHAIN)

    def compile(self, artifact: Artifact, *, folder: Path, options: Mapping[str, str]) -> Conversion:
        """Write the compiled TFLite file into `folder`.

        Raises:
            UnknownName, InputError: an option's value that Vela does not have.
            ConversionError: Vela failed, with its last lines, or placed nothing on the NPU.
        """
        started = time.perf_counter()
        arguments = vela_arguments(options)
        answer = call_toolchain(
            _Answer,
            TOOLCHAIN,
            Path(__file__).with_name("tool.py"),
            {"source": str(artifact.entry), "target": str(folder / ENTRY), "arguments": arguments},
            name=self.title,
            log_folder=tool_logs(),
            time_limit_s=TIME_LIMIT_S,
        )
        ops = tuple(_with_fix(op) for op in answer.ops)
        left = Counter(op.op for op in ops if op.unit == CPU)
        if sum(left.values()) == len(ops):
            raise ConversionError(f"{artifact.folder}: Vela leaves all {len(ops)} ops to the CPU: {ops[0].reason}")
        estimate = CompilerEstimate(
            configuration=answer.configuration,
            latency_ms=answer.latency_ms,
            clock_mhz=answer.clock_mhz,
            cycles=answer.cycles,
            sram_kib=answer.sram_kib,
            dram_kib=answer.dram_kib,
            flash_kib=answer.flash_kib,
            left_out=tuple(f"{count} {name}" for name, count in sorted(left.items())),
        )
        manifest = artifact.manifest
        return Conversion(
            entry=ENTRY,
            input=manifest.inputs[0],
            output=manifest.outputs[0],
            scheme=manifest.scheme,
            preprocess=manifest.preprocess,
            ops=ops,
            provable_by=(FORMAT,),
            report=conversion_report(
                ops, tools=(), started=started, others={TOOLCHAIN: answer.version}, estimate=estimate
            ),
        )


def vela_arguments(options: Mapping[str, str]) -> list[str]:
    """Return Vela's command line for the compiler's options, with each family's own defaults.

    Raises:
        UnknownName, InputError: a value that Vela does not have.
    """
    accelerator = options.get("accelerator", ACCELERATORS[3])
    if accelerator not in ACCELERATORS:
        raise unknown("accelerator", accelerator, ACCELERATORS)
    system_config, memory_mode = DEFAULTS[accelerator.rpartition("-")[0]]
    optimise = options.get("optimise", "Performance")
    if optimise not in ("Performance", "Size"):
        raise unknown("value of optimise", optimise, ("Performance", "Size"))
    arguments = [
        "--accelerator-config", accelerator, "--config", "Arm/vela.ini",
        "--system-config", options.get("system_config", system_config),
        "--memory-mode", options.get("memory_mode", memory_mode), "--optimise", optimise,
    ]  # fmt: skip
    kib = options.get("arena_cache_kib")
    if kib is not None:
        if not kib.isascii() or not kib.isdigit() or not 0 < int(kib[:9]) < 1 << 22:
            raise InputError(f'arena_cache_kib is "{kib}"; give the SRAM in KiB, such as 2048.')
        arguments += ["--arena-cache-size", str(int(kib) * 1024)]
    return arguments


def _with_fix(op: OpPlacement) -> OpPlacement:
    if op.unit != CPU:
        return op
    fix = _FIXES.get(op.op, "")
    return dataclasses.replace(op, reason=f"{op.reason.rstrip('.')}. {fix}".rstrip(". ") if fix else op.reason)
