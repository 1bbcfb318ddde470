"""`compare` ended in the middle: an older report or index stays whole, and the second try succeeds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bench.measured import several

from edgeseg.bench import write_measurement

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks and signals are POSIX")

WORKER = Path(__file__).parents[1] / "faults_worker.py"
KILLED_WHILE_INDEXING = """
import os, signal, sys
from edgeseg.bench import record_index
from edgeseg.cli.main import main
read = record_index.read_if_record
left = [2]
def killed(file):
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    return read(file)
record_index.read_if_record = killed
main(sys.argv[1:])
"""


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    for measurement in several():
        write_measurement(measurement, tmp_path / "results")
    return tmp_path


def outcomes(words: list[str], cwd: Path, *faults: tuple[str, int]) -> list[dict[str, Any]]:
    """Return how a verb ended in each of its runs, whose `at`-th step of a write met the fault."""
    requests = json.dumps([{"words": words, "cwd": str(cwd), "fault": fault, "at": at} for fault, at in faults])
    command = [sys.executable, str(WORKER), "edgeseg.bench.report"]
    done = subprocess.run(command, input=requests + "\n", capture_output=True, text=True, check=True)
    answer: list[dict[str, Any]] = json.loads(done.stdout)
    return answer


def test_an_ended_comparison_leaves_the_older_report_and_the_next_succeeds(cwd: Path) -> None:
    report = cwd / "report.html"
    report.write_text("the older one", encoding="utf-8")
    words = ["compare", "results", "--html", "report.html"]
    ended = outcomes(words, cwd, ("SIGKILL", 2), ("SIGTERM", 2), ("full", 1))
    assert [item["status"] for item in ended] == [-9, 130, 1], ended
    assert "No space left on device" in ended[2]["err"]
    assert not [item["err"] for item in ended if "Traceback" in item["err"]]
    assert report.read_text(encoding="utf-8") == "the older one"
    (last,) = outcomes(words, cwd, ("none", 0))
    assert last["status"] == 0, last["err"]
    assert report.read_text(encoding="utf-8").rstrip().endswith("</html>")


def test_a_killed_index_is_made_at_the_second_try(cwd: Path) -> None:
    words = ["compare", "results", "--sqlite", "index.db"]
    killed = subprocess.run([sys.executable, "-P", "-c", KILLED_WHILE_INDEXING, *words], cwd=cwd, check=False)
    assert killed.returncode == -9
    (done,) = outcomes(words, cwd, ("none", 0))
    assert done["status"] == 0, done["err"]
    assert (cwd / "index.db").stat().st_size
