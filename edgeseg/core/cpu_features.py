"""What this machine's CPU can compute, as far as the system shows it."""

from __future__ import annotations

import platform
from pathlib import Path

from edgeseg.core.system_files import read_text

_DOT_PRODUCTS = frozenset(("avx512_vnni", "avx_vnni"))


def int8_sums_saturate(root: Path = Path("/")) -> bool:
    """Return whether int8 kernels add products in saturating 16 bits here: x86 without known VNNI."""
    if platform.machine().lower() not in ("x86_64", "amd64", "i386", "i686"):
        return False
    return not _DOT_PRODUCTS.intersection(cpu_fields(root).get("flags", "").split())


def cpu_fields(root: Path = Path("/")) -> dict[str, str]:
    """Return what Linux says of the first processor, by its own keys; nothing elsewhere."""
    fields: dict[str, str] = {}
    for line in (read_text(root / "proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        if value.strip():
            fields.setdefault(key.strip(), value.strip())
    return fields
