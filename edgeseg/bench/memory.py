"""Peak memory of running one artifact, measured in a fresh process.

`python -m edgeseg.bench.memory FOLDER ENGINE THREADS` prints the megabytes.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

HOW = "VmHWM of a fresh process: Python, OpenCV, engine and artifact, three images"
_RUNS = 3
_TIMEOUT_S = 180.0


def measure_peak_memory_mb(folder: Path, *, engine: str, threads: int) -> float | None:
    """Return the largest resident memory in MB (10^6 bytes) of a fresh process that segments three images.

    None if the process failed or the system does not report it.
    """
    command = [sys.executable, "-m", "edgeseg.bench.memory", str(folder), engine, str(threads)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True)
        peak_mb = float(done.stdout.split()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None
    return peak_mb or None


def own_peak_memory_mb(status: Path = Path("/proc/self/status")) -> float:
    """Return this process's peak resident memory in MB; 0.0 where it cannot be read."""
    from edgeseg.bench.telemetry import read_text
    from edgeseg.core.peak_memory import peak_memory_mb

    # VmHWM starts anew with each program; getrusage's figure is inherited from the parent on Linux.
    line = re.search(r"^VmHWM:\s+(\d+) kB", read_text(status) or "", re.MULTILINE)
    return round(int(line[1]) * 1024 / 1e6, 1) if line else peak_memory_mb()


def main(arguments: list[str]) -> int:
    """Segment a few images of noise with the artifact, print the peak memory in MB, and return 0."""
    import numpy as np

    from edgeseg.runtime import load

    folder, engine, threads = arguments
    with load(folder, engine=engine, threads=int(threads)) as session:
        height, width = session.artifact.manifest.spec.size
        image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
        for _ in range(_RUNS):
            session.segment(image)
    print(own_peak_memory_mb())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
