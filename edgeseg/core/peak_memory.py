"""The peak memory of this process."""

from __future__ import annotations

import sys


def peak_memory_mb() -> float:
    """Return the peak resident memory of this process in MB (10^6 bytes); 0.0 if it cannot be read."""
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # getrusage(2): Linux counts in KiB, macOS in bytes.
    return round((peak if sys.platform == "darwin" else peak * 1024) / 1e6, 1)
