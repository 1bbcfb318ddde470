"""Two processes, started as a user would, make the steps that one process makes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from train.small import recipe

from edgeseg.core.files import write_json
from edgeseg.models import load_checkpoint

if TYPE_CHECKING:
    from edgeseg.train import Recipe

WORKER = Path(__file__).with_name("worker.py")
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
# Batch norm has its running statistics, and no crop is padded: each half of a batch then weighs the same.
RECIPE = recipe(
    run={"freeze_norm": True, "batch": 4},
    augment={"scale_min": 1.2},
    optimizer={"rate": 0.003},
    data={"train": "streets:8", "val": "streets:2"},
    schedule={"epochs": 1, "warmup_epochs": 0},
)


def losses(given: Recipe, out: Path, *launcher: str) -> list[float]:
    path = out.with_suffix(".json")
    write_json(given, path)
    done = subprocess.run(
        [sys.executable, *launcher, str(WORKER), str(path), str(out), "nodropout"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(lines) == 1, "only the first process reports"
    return list(json.loads(lines[0])["losses"])


def test_two_processes_learn_what_one_learns(tmp_path: Path) -> None:
    one = losses(RECIPE, tmp_path / "one")
    two = losses(RECIPE, tmp_path / "two", *TORCHRUN)
    assert len(one) == 2
    assert two == pytest.approx(one, rel=1e-4)
    left, right = (load_checkpoint(tmp_path / name / "checkpoint").net.state_dict() for name in ("one", "two"))
    difference = max(float((left[key].float() - right[key].float()).abs().max()) for key in left)
    assert difference < 1e-5
