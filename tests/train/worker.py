"""A run in a process of its own: `python worker.py RECIPE OUT [resume] [kill=STEP] [interrupt=STEP] [nodropout]`."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import torch

from edgeseg.core.files import read_json
from edgeseg.train import Event, Recipe, StepDone, train

torch.set_num_threads(1)


def main(recipe: Path, out: Path, *words: str) -> None:
    options = dict(word.partition("=")[::2] for word in words)
    if "nodropout" in options:
        # Dropout's chance differs from process to process; without it two halves make the same step as the whole.
        torch.nn.Dropout.forward = lambda self, input: input  # type: ignore[method-assign]  # noqa: A006
    losses: list[float] = []

    def watch(event: Event) -> None:
        if isinstance(event, StepDone):
            losses.append(event.loss)
            if str(event.step) == options.get("kill"):
                os.kill(os.getpid(), signal.SIGKILL)
            if str(event.step) == options.get("interrupt"):
                os.kill(os.getpid(), signal.SIGINT)

    handler = signal.getsignal(signal.SIGINT)
    try:
        result = train(
            read_json(Recipe, recipe), out=out, resume="resume" in options, on_event=watch, accelerator="cpu"
        )
    except KeyboardInterrupt:
        assert signal.getsignal(signal.SIGINT) is handler
        print("interrupted")
        return
    if losses:
        print(json.dumps({"losses": losses, "miou": result.miou}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
