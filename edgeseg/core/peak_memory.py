"""What a step took: wall-clock seconds, and the largest memory that the process has had."""

from __future__ import annotations

import sys


def peak_memory_mb() -> float:
    """Return the largest resident memory of this process so far in MB (10^6 bytes); 0.0 where it cannot be read."""
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # getrusage(2): Linux counts in KiB, macOS in bytes.
    return round((peak if sys.platform == "darwin" else peak * 1024) / 1e6, 1)
