"""Runs `pipeline_worker.py`: one pipeline in several sittings, of which all but the last kill themselves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

WORKER = Path(__file__).with_name("pipeline_worker.py")


def sittings(recipe: Path, out: Path, *places: str) -> list[str]:
    """Return what became of each sitting, a line each."""
    done = subprocess.run(
        [sys.executable, str(WORKER), str(recipe), str(out), *places], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1]
