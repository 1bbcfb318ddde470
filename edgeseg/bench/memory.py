"""What one artifact costs a fresh process: memory, loading, the first inference.

`python -m edgeseg.bench.memory FOLDER ENGINE THREADS` prints them as JSON.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from edgeseg.core.records import decode_record
from edgeseg.errors import EdgesegError

HOW = "VmHWM of a fresh process: Python, OpenCV, engine and artifact, three images"
_RUNS = 3
_TIMEOUT_S = 180.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FreshProcess:
    """Memory in MB (10^6 bytes) and times in milliseconds of a process that opens an artifact and segments images.

    Memory is 0 where the system does not report it. `load_ms` is with the artifact's files dropped from the page cache,
    where the system allows that, and with the engine's library already imported; `reload_ms` opens it again.
    """

    peak_memory_mb: float
    steady_memory_mb: float
    load_ms: float
    reload_ms: float
    first_inference_ms: float


def measure_fresh_process(folder: Path, *, engine: str, threads: int) -> FreshProcess | None:
    """Return what a fresh process needs to open an artifact and segment three images; None if it failed."""
    command = [sys.executable, "-m", "edgeseg.bench.memory", str(folder), engine, str(threads)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True)
        return decode_record(FreshProcess, json.loads(done.stdout.splitlines()[-1]), where="fresh process")
    except (OSError, subprocess.SubprocessError, ValueError, IndexError, EdgesegError):
        return None


def own_peak_memory_mb(status: Path = Path("/proc/self/status")) -> float:
    """Return this process's peak resident memory in MB; 0.0 where it cannot be read."""
    from edgeseg.core.peak_memory import peak_memory_mb

    # VmHWM starts anew with each program; getrusage's figure is inherited from the parent on Linux.
    return _status_mb("VmHWM", status) or peak_memory_mb()


def _status_mb(name: str, status: Path = Path("/proc/self/status")) -> float:
    from edgeseg.core.system_files import read_text

    line = re.search(rf"^{name}:\s+(\d+) kB", read_text(status) or "", re.MULTILINE)
    return round(int(line[1]) * 1024 / 1e6, 1) if line else 0.0


def _drop_from_page_cache(folder: Path) -> None:
    if not hasattr(os, "posix_fadvise"):
        return
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            handle = os.open(path, os.O_RDONLY)
            try:
                os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(handle)


def main(arguments: list[str]) -> int:
    """Open the artifact twice, segment a few images of noise, print a `FreshProcess` as JSON, and return 0."""
    import numpy as np

    from edgeseg.core.artifact import open_artifact
    from edgeseg.runtime import load
    from edgeseg.runtime.session.engine_choice import choose_engine

    folder, engine, threads = Path(arguments[0]), arguments[1], int(arguments[2])
    artifact = open_artifact(folder)
    choose_engine(artifact.manifest, name=engine)  # imports its library
    height, width = artifact.manifest.spec.size
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    _drop_from_page_cache(folder)
    begun = time.perf_counter()
    with load(folder, engine=engine, threads=threads, trusted=True) as session:
        loaded = time.perf_counter()
        session.segment(image)
        segmented = time.perf_counter()
        for _ in range(_RUNS - 1):
            session.segment(image)
        steady_mb, peak_mb = _status_mb("VmRSS"), own_peak_memory_mb()
    again = time.perf_counter()
    with load(folder, engine=engine, threads=threads, trusted=True):
        reload_s = time.perf_counter() - again
    found = FreshProcess(
        peak_memory_mb=peak_mb,
        steady_memory_mb=steady_mb,
        load_ms=round(1000 * (loaded - begun), 3),
        reload_ms=round(1000 * reload_s, 3),
        first_inference_ms=round(1000 * (segmented - loaded), 3),
    )
    print(json.dumps(dataclasses.asdict(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
