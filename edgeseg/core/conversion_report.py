"""The conversion report, from the list of op placements: the same for every converter and compiler."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from edgeseg.core.artifact import ConversionReport, Fallback
from edgeseg.core.peak_memory import peak_memory_mb
from edgeseg.core.requirements import installed_versions

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from edgeseg.core.placement import CompilerEstimate, OpPlacement


def conversion_report(
    ops: Iterable[OpPlacement],
    *,
    tools: Iterable[str],
    started: float,
    others: Mapping[str, str] | None = None,
    estimate: CompilerEstimate | None = None,
    calibrator: str = "",
) -> ConversionReport:
    """Return the report of a conversion that began at `started` (`time.perf_counter` seconds).

    Ops with a reason are the fallbacks; `tools` are the Python distributions whose versions matter for the result, and
    `others` the versions of tools outside this environment. `estimate` is a compiler's, `calibrator`
    the vendor's quantizer with its version, if that made the int8.
    """
    counted = tuple(ops)
    return ConversionReport(
        ops_total=len(counted),
        ops_quantized=sum(item.is_quantized for item in counted),
        fallbacks=tuple(Fallback(op=item.op, node=item.node, reason=item.reason) for item in counted if item.reason),
        tool_versions={**installed_versions(*tools), **(others or {})},
        seconds=round(time.perf_counter() - started, 3),
        peak_memory_mb=peak_memory_mb(),
        estimate=estimate,
        calibrator=calibrator,
    )
