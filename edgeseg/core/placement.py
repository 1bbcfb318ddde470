"""`OpPlacement`: the unit of a device that runs an op. `CompilerEstimate`: what a compiler expects of a whole graph."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgeseg.core.records import bounds
from edgeseg.errors import GateError

if TYPE_CHECKING:
    from collections.abc import Iterable

CPU = "cpu"
_NAMED = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class OpPlacement:
    """One computing op of a converted or compiled graph.

    `unit` runs it ("cpu", "npu", "gpu", or a kernel library such as "xnnpack"); `dtype` is the type it computes in
    ("int8", "float32"); both are empty if the tool does not report them. `reason` says why the op was not quantized or
    not placed on the accelerator, and is empty if it was. `cycles` is the compiler's estimate for that unit.
    """

    op: str
    node: str
    unit: str
    dtype: str = ""
    reason: str = ""
    cycles: float | None = field(default=None, metadata=bounds(low=0))

    @property
    def is_quantized(self) -> bool:
        """Whether the op computes with integers."""
        return self.dtype.lstrip("u").startswith("int")


@dataclass(frozen=True, slots=True, kw_only=True)
class CompilerEstimate:
    """What a compiler expects of a graph on its chip, never measured: ops on the CPU are left out.

    `configuration` names the accelerator and the memory system that it assumed. `left_out` names the ops that run on
    the CPU, whose time is not in `latency_ms`. Sizes are peaks in KiB; flash holds the weights.
    """

    configuration: str
    latency_ms: float = field(metadata=bounds(low=0))
    clock_mhz: float = field(metadata=bounds(low=0))
    cycles: float = field(metadata=bounds(low=0))
    sram_kib: float = field(metadata=bounds(low=0))
    dram_kib: float = field(default=0.0, metadata=bounds(low=0))
    flash_kib: float = field(default=0.0, metadata=bounds(low=0))
    left_out: tuple[str, ...] = ()


def delegated(ops: Iterable[OpPlacement]) -> float:
    """Return the share of ops that run on something other than the CPU's default kernels; 0 where there are no ops.

    >>> delegated([OpPlacement(op="a", node="a", unit="npu"), OpPlacement(op="b", node="b", unit="cpu")])
    0.5
    """
    units = [item.unit for item in ops]
    return sum(unit not in ("", CPU) for unit in units) / len(units) if units else 0.0


def require_delegated(ops: tuple[OpPlacement, ...], *, percent: float | None, name: str) -> None:
    """Raise `GateError` where less than `percent` of the ops run on an accelerator; None requires nothing."""
    share = 100.0 * delegated(ops)
    if percent is None or share >= percent:
        return
    left = [item for item in ops if item.unit in ("", CPU)]
    named = ", ".join(f"{item.op} ({item.reason.rstrip('.')})" if item.reason else item.op for item in left[:_NAMED])
    more = f", and {len(left) - _NAMED} more" if len(left) > _NAMED else ""
    raise GateError(
        f"{name}: {share:.1f} % of {len(ops)} ops run on the accelerator; required: {percent:g} %. "
        f"On the CPU: {named}{more}."
    )
