"""How a compiled artifact's placement is shown: the share on the accelerator, the estimate, each op on the CPU."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeseg.core.artifact import Artifact

SHOWN_FALLBACKS = 6


def placement_lines(artifact: Artifact) -> list[str]:
    """Return what a compiler reports: the share of ops on the accelerator, its estimate, and each op on the CPU."""
    from edgeseg.core.placement import CPU

    manifest = artifact.manifest
    left = [item for item in manifest.placements if item.unit in ("", CPU)]
    total, estimate = len(manifest.placements), manifest.report.estimate
    lines = [f"  {total - len(left)} of {total} ops on the accelerator"]
    if estimate is not None:
        without = f", without {', '.join(estimate.left_out)}" if estimate.left_out else ""
        memory = [("SRAM", estimate.sram_kib), ("DRAM", estimate.dram_kib), ("flash", estimate.flash_kib)]
        sizes = ", ".join(f"{name} {size:.0f} KiB" for name, size in memory if size)
        lines.append(
            f"  estimate, CPU ops left out: {estimate.latency_ms:.2f} ms at {estimate.clock_mhz:g} MHz "
            f"({estimate.configuration}){without}; {sizes}"
        )
    lines += [f"  on the CPU: {item.op} {_short(item.node)}: {item.reason}" for item in left[:SHOWN_FALLBACKS]]
    if len(left) > SHOWN_FALLBACKS:
        lines.append(f"  and {len(left) - SHOWN_FALLBACKS} more in {artifact.folder / 'manifest.json'}")
    return lines


def _short(node: str) -> str:
    """Return the last part of a tensor's name, which converters make of the whole path of modules."""
    return node.rstrip(";").rpartition("/")[2]
