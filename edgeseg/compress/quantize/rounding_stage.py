"""The base of stages that round weights to int8 steps after training."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from edgeseg.compress.pipeline.change_stage import ChangeStage, ImageSample
from edgeseg.compress.pipeline.stage import Leaves
from edgeseg.compress.quantize.start_ranges import starting_ranges
from edgeseg.compress.training_batches import draw_samples, image_batches
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
    """By default those of the recipe's `[calibration]`, else those in the start checkpoint's ranges."""


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
        layers = job.float_layers if own.float_layers is None else own.float_layers
        return torch.cat(batches), dataclasses.replace(ranges, float_layers=layers)
