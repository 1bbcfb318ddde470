"""A distillation that is killed: `python distill_worker.py RECIPE.json DISTILL.json OUT STEP`."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch

from edgeseg.compress.distill.method import Distill
from edgeseg.compress.distill.recipe import DistillRecipe
from edgeseg.core.files import read_json
from edgeseg.train import Event, Recipe, StepDone, train

torch.set_num_threads(1)


def main(recipe: Path, distill: Path, out: Path, step: int) -> None:
    def watch(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == step:
            os.kill(os.getpid(), signal.SIGKILL)

    method = Distill(read_json(DistillRecipe, distill))
    train(read_json(Recipe, recipe), out=out, on_event=watch, accelerator="cpu", method=method)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
