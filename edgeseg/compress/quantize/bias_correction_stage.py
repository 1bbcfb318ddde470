"""The stage `bias_correction`: the mean int8 error of each layer, folded into its bias."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from edgeseg.compress.pipeline.change_stage import Changed, ChangeStage, ImageSample
from edgeseg.compress.pipeline.stage import Leaves
from edgeseg.compress.quantize.bias_correction import correct_biases
from edgeseg.compress.quantize.start_ranges import starting_ranges
from edgeseg.compress.training_batches import draw_samples, image_batches
from edgeseg.core.records import encode_record
from edgeseg.export import check_float_layers

if TYPE_CHECKING:
    from torch import Tensor

    from edgeseg.compress.pipeline.stage import Coming, Job
    from edgeseg.core.quantization import Ranges
    from edgeseg.data import Dataset
    from edgeseg.models import Checkpoint

ROUNDING = Leaves(name="rounding", lost_by="any", how="changes weights that are rounded to int8 steps")


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundingSample(ImageSample):
    """The images of a stage that rounds weights to int8, and the paths of modules that stay in float."""

    images: int = 32
    float_layers: tuple[str, ...] | None = None
    """By default those in the parent checkpoint's ranges, if it has any."""


@dataclass(frozen=True, kw_only=True)
class RoundingStage(ChangeStage):
    """The base of stages that round weights to int8 steps after training."""

    leaves: ClassVar[tuple[Leaves, ...]] = (ROUNDING,)

    settings: RoundingSample

    def check(self, coming: Coming) -> Coming:
        """Return `coming` unchanged; raises `UnknownName` for a float layer that the net does not have."""
        check_float_layers(coming.net, self.settings.float_layers or ())
        return super().check(coming)

    def sample(self, checkpoint: Checkpoint, *, data: Dataset, job: Job) -> tuple[Tensor, Ranges]:
        """Return the drawn images, normalised (N, 3, H, W), and the ranges that the net starts from."""
        own = self.settings
        batches = image_batches(draw_samples(data, images=own.images, seed=own.seed), spec=checkpoint.spec)
        ranges = starting_ranges(checkpoint, job.data.train)
        if own.float_layers is not None:
            ranges = dataclasses.replace(ranges, float_layers=own.float_layers)
        return torch.cat(batches), ranges


@dataclass(frozen=True, kw_only=True)
class BiasCorrectionStage(RoundingStage):
    """Corrects the biases of all layers with int8 weights."""

    name: ClassVar[str] = "bias_correction"
    does: ClassVar[str] = "fold each layer's mean int8 error into its bias; no training"

    def change(self, checkpoint: Checkpoint, *, data: Dataset, job: Job) -> Changed:
        """Return the net with rounded weights and corrected biases, and each layer's mean error before.

        Raises:
            InputError: no layer to correct.
            UnknownName: the net does not have one of the float layers.
        """
        images, ranges = self.sample(checkpoint, data=data, job=job)
        net, layers = correct_biases(
            checkpoint.net.eval(), images, size=job.size, ranges=ranges.ranges, float_layers=ranges.float_layers
        )
        return Changed(net=net, spec=checkpoint.spec, account={"layers": encode_record(layers)})
