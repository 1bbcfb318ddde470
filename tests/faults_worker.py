"""Runs verbs of the command line in forked children and makes each fail at a chosen write: `python faults_worker.py`.

Reads one JSON list of requests a line, serves them side by side, and answers with one list. Every write of a record,
a folder, a checkpoint or a label map passes `edgeseg.core.atomic.step`; the `at`-th call of it is where the fault
happens.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from edgeseg.cli.main import main
from edgeseg.core import atomic

NEEDS_ROOM = ("write file", "sync file", "fill folder", "sync folder")


def child(request: dict[str, object], report: Path) -> None:
    seen: list[str] = []
    at, fault = request["at"], str(request["fault"])

    def step(name: str) -> None:
        seen.append(name)
        report.write_text(json.dumps({"steps": seen, "at_s": time.monotonic()}))
        if fault == "full" and len(seen) >= at and name in NEEDS_ROOM:  # type: ignore[operator]
            raise OSError(errno.ENOSPC, "No space left on device")
        if fault.startswith("SIG") and len(seen) == at:
            os.kill(os.getpid(), getattr(signal, fault))

    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    words = [str(word) for word in request["words"]]  # type: ignore[attr-defined]
    if words[0] == "convert":  # remembers what it made, once: each child takes as many steps as the first
        os.environ["EDGESEG_STATE_DIR"] = str(report.with_name("state"))
    atomic.step, sys.argv = step, ["edgeseg", *words]
    os.chdir(str(request["cwd"]))
    status = 70
    try:
        status = main(words)
    except SystemExit as error:
        status = int(error.code or 0)
    except BaseException:  # noqa: BLE001 - printed, and seen by the test
        import traceback

        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def start(request: dict[str, object], place: Path) -> int:
    """Return the process id of the child that serves a request; its output and report are in `place`."""
    pid = os.fork()
    if not pid:
        for number, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(place / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
        child(request, place / "report")
    return pid


def cases(requests: list[dict[str, object]]) -> list[dict[str, object]]:
    """Return how each child ended; one that stopped itself goes on after its request's `hold_s` seconds."""
    with ExitStack() as stack:
        places = [Path(stack.enter_context(tempfile.TemporaryDirectory())) for _ in requests]
        children = {start(requests[number], place): number for number, place in enumerate(places)}
        stopped, ended = [0] * len(requests), {}
        while len(ended) < len(requests):
            pid, status = os.waitpid(-1, os.WUNTRACED)
            number = children[pid]
            if os.WIFSTOPPED(status):
                stopped[number] += 1
                threading.Timer(float(str(requests[number]["hold_s"])), os.kill, (pid, signal.SIGCONT)).start()
            else:
                ended[number] = (os.waitstatus_to_exitcode(status), time.monotonic())
        return [answer(place, *ended[number], stopped[number]) for number, place in enumerate(places)]


def answer(place: Path, status: int, ended_s: float, stopped: int) -> dict[str, object]:
    report = place / "report"
    seen = json.loads(report.read_text()) if report.is_file() else {"steps": [], "at_s": ended_s}
    return {
        "status": status,
        "out": (place / "out").read_text(errors="replace"),
        "err": (place / "err").read_text(errors="replace"),
        "steps": seen["steps"],
        "stopped": stopped,
        "seconds_after_last_step": ended_s - seen["at_s"],
    }


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for module in sys.argv[1:]:
        __import__(module)
    for line in sys.stdin:
        print(json.dumps(cases(json.loads(line))), file=answers, flush=True)
