"""Sittings of one pipeline, each in a process of its own: `python pipeline_worker.py RECIPE OUT [PLACE ...]`.

Each PLACE (`prune`, `swap`, ..., `calibration`) is one sitting that kills itself there with SIGKILL; the last
sitting goes to the end. The sittings are forked from here, so that the libraries are imported once.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch

from edgeseg.compress.pipeline import change_stage
from edgeseg.compress.pipeline.recipe import read_pipeline
from edgeseg.compress.pipeline.run import StageBegun, run_pipeline
from edgeseg.compress.quantize import qat as _qat  # noqa: F401
from edgeseg.train import Loading, StepDone

torch.set_num_threads(1)


class Killer:
    """Hears the events of a sitting and ends its process at the place that it was given."""

    def __init__(self, place: str) -> None:
        self.place, self.stage = place, ""

    def __call__(self, event: object) -> None:
        if isinstance(event, StageBegun):
            self.stage = event.kind
        if isinstance(event, StepDone) and self.stage == self.place and event.step == 3:
            kill()
        if isinstance(event, Loading) and event.data == "calibration images" and self.place == "calibration":
            kill()


def kill(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def sitting(recipe: Path, out: Path, place: str) -> None:
    if place in ("prune", "swap", "gates", "equalize"):
        change_stage.evaluate = kill  # type: ignore[assignment]
    run_pipeline(
        read_pipeline(recipe),
        out=out,
        resume=True,
        on_event=Killer(place),
        command="edgeseg compress",
        accelerator="cpu",
    )


def main(recipe: Path, out: Path, *places: str) -> None:
    for place in (*places, ""):
        pid = os.fork()
        if not pid:
            sitting(recipe, out, place)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        print(place or "end", "killed" if os.WIFSIGNALED(status) else "done", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
