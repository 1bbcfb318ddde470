"""Checks of every conversion before its manifest is sealed: its files, and how much runs on the accelerator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeseg.core.placement import CPU, delegated
from edgeseg.errors import ConversionError, GateError

if TYPE_CHECKING:
    from pathlib import Path

    from edgeseg.core.exported import Conversion
    from edgeseg.core.placement import OpPlacement

_NAMED = 4


def check_conversion(conversion: Conversion, *, folder: Path, name: str) -> None:
    """Raise `ConversionError` unless the files that a conversion names lie in its folder."""
    root = folder.resolve()
    for path in (conversion.entry, *conversion.files):
        found = (root / path).resolve()
        if not path or root not in found.parents or not found.exists():
            raise ConversionError(f"{name}: reports that it wrote {path or 'nothing'}, which is not in its folder.")


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
