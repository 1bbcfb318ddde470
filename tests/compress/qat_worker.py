"""A quantization-aware training that is killed: `python qat_worker.py RECIPE.json QAT.json OUT STEP`."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch

from edgeseg.compress.quantize.qat import Qat
from edgeseg.compress.quantize.recipe import QatRecipe
from edgeseg.core.files import read_json
from edgeseg.train import Event, Recipe, StepDone, train

torch.set_num_threads(1)


def main(recipe: Path, settings: Path, out: Path, step: int) -> None:
    def watch(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == step:
            os.kill(os.getpid(), signal.SIGKILL)

    method = Qat(read_json(QatRecipe, settings))
    train(read_json(Recipe, recipe), out=out, on_event=watch, accelerator="cpu", method=method)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
