"""A short quantization-aware training, and the net that it ended with."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import torch
from contracts.deployable import trained_folder
from train.small import recipe

from edgeseg.compress.quantize.fake_quant_net import QuantNet
from edgeseg.compress.quantize.qat import Qat
from edgeseg.compress.quantize.recipe import QatRecipe
from edgeseg.core.files import read_json
from edgeseg.core.quantization import Ranges
from edgeseg.models import Checkpoint, load_checkpoint
from edgeseg.train import Recipe, train
from edgeseg.train.state import STATE_FILE

# Ranges move far enough in four steps to be told from where they started.
LEARNED = QatRecipe(mode="learned", range_rate=30.0, freeze_after=0.75)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trained:
    """The kept checkpoint, its ranges, and the fake-quantized net that was kept as them."""

    folder: Path
    checkpoint: Checkpoint
    ranges: Ranges
    net: QuantNet


def short_run() -> Recipe:
    """Return a recipe of four steps whose last epoch's net is the kept one."""
    return recipe(
        model={"init": str(trained_folder()), "size": [64, 96]},
        data={"train": "streets:8", "val": "streets:2"},
        optimizer={"rate": 1e-3},
        run={"save_every_steps": 1, "evaluate_every": 2},
    )


def trained(out: Path, *, settings: QatRecipe = LEARNED) -> Trained:
    """Train, and return what is kept."""
    one = short_run()
    folder = train(one, out=out, method=Qat(settings), accelerator="cpu").checkpoint
    checkpoint = load_checkpoint(folder)
    net, _ = Qat(settings).start(one, checkpoint.spec)
    assert isinstance(net, QuantNet)
    net.load_state_dict(torch.load(out / STATE_FILE, weights_only=True)["average"])
    return Trained(
        folder=folder, checkpoint=checkpoint, ranges=read_json(Ranges, folder / "ranges.json"), net=net.eval()
    )
