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
    for line in (read_text(root / "proc/cpuinfo") or "").splitlines():
        key, _, flags = line.partition(":")
        if key.strip() == "flags":
            return not _DOT_PRODUCTS.intersection(flags.split())
    return True
