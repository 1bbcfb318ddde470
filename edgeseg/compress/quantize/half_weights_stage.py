"""The stage `half_weights`: weights stored in 16 bits, which halves the checkpoint's file."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from edgeseg.compress.pipeline.stage import Leaves, Stage
from edgeseg.compress.pipeline.terms import with_terms
from edgeseg.compress.pipeline.training_stage import NoSettings
from edgeseg.core.records import encode_record
from edgeseg.errors import InputError
from edgeseg.models import load_checkpoint, save_checkpoint
from edgeseg.models.checkpoint import read_training, stored_ranges
from edgeseg.train.data import open_pair
from edgeseg.train.describe import training_versions
from edgeseg.train.evaluate import evaluate
from edgeseg.train.setup import seen

if TYPE_CHECKING:
    from torch import nn

    from edgeseg.compress.pipeline.stage import Job


HALF = Leaves(name="half", lost_by="any", how="stores the weights in 32 bits again")
OF_THE_STAGE = ("seconds", "times")
"""Keys of training.json that say how long the parent's own stage took, or its net."""


@dataclass(frozen=True, kw_only=True)
class HalfWeightsStage(Stage):
    """Rounds the weights to float16 and stores them so; biases and batch norms stay float32.

    The rounding is at most 1/2048 of a weight, a sixteenth of an int8 step, so that trained ranges and weights that lie
    on int8 steps stay valid. The record of the training is the parent's, with the score of the rounded net.
    """

    name: ClassVar[str] = "half_weights"
    does: ClassVar[str] = "store weights in 16 bits: half the file"
    keeps: ClassVar[bool] = True
    leaves: ClassVar[tuple[Leaves, ...]] = (HALF,)

    settings: NoSettings

    def run(self, job: Job) -> None:
        """Write the rounded checkpoint of the stage's parent with its ranges and score.

        Raises:
            InputError: a weight is outside float16's range.
        """
        parent = load_checkpoint(job.parent, size=job.size)
        round_to_half(parent.net)
        validation = open_pair(job.data)[1]
        account = {
            "data": {"val": seen(validation, sha256=job.data_sha256.get("val", ""))},
            **{key: value for key, value in read_training(job.parent).items() if key not in OF_THE_STAGE},
            "command": job.command,
            "recipe": job.result,
            "start": {"checkpoint": parent.spec.name, "sha256": parent.spec.weights_sha256},
            "val": encode_record(evaluate(parent.net, validation, spec=parent.spec)),
            "versions": training_versions(),
        }
        ranges = stored_ranges(parent.folder, weights_sha256=parent.spec.weights_sha256)
        spec = with_terms(dataclasses.replace(parent.spec, name=job.result), job=job)
        save_checkpoint(job.checkpoint, net=parent.net, spec=spec, training=account, ranges=ranges, half=True)


def round_to_half(net: nn.Module) -> None:
    """Round the weights of all layers, the parameters of more than one dimension, to float16, in place.

    Raises:
        InputError: a weight is outside float16's range; the message names it.
    """
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if parameter.ndim < 2:
                continue
            rounded = parameter.half().float()
            if not rounded.isfinite().all():
                raise InputError(
                    f"{name}: a weight of {float(parameter.abs().max()):g} is outside float16's range of 65504. Leave "
                    'out the stage "half_weights".'
                )
            parameter.copy_(rounded)
