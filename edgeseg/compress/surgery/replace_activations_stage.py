"""The stage `swap`: the same layers in an architecture with other activations.

Hard-swish has no int8 kernel on many engines; with ReLU in its place the whole net computes in int8.
"""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from edgeseg.compress.pipeline.change_stage import Changed, ChangeStage, ImageSample
from edgeseg.compress.prune.batch_norm_recalibration import recalibrate
from edgeseg.compress.training_batches import draw_samples, labelled_batches
from edgeseg.models.build import swapped
from edgeseg.train.batch_norm_statistics import restore_batch_norm_statistics

if TYPE_CHECKING:
    from edgeseg.compress.pipeline.stage import Coming, Job, LatencyProbe
    from edgeseg.data import Dataset
    from edgeseg.models import Checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapSettings(ImageSample):
    """The same layers in another architecture, which differs only in ops without weights, mostly activations.

    Batch norm statistics are recomputed; the score drops and recovers in the training that follows.
    """

    architecture: str


@dataclass(frozen=True, kw_only=True)
class SwapStage(ChangeStage):
    """Moves the weights to another architecture with the same layers."""

    name: ClassVar[str] = "swap"
    does: ClassVar[str] = "the same layers with other activations"

    settings: SwapSettings

    def check(self, coming: Coming) -> Coming:
        """Return `coming` in the other architecture; raises as `edgeseg.models.build.swapped`."""
        net, spec = swapped(coming.net, spec=coming.spec, name=self.settings.architecture)
        return dataclasses.replace(coming, net=net, spec=spec)

    def preview(self, coming: Checkpoint, *, data: Dataset, probe: LatencyProbe | None) -> Checkpoint:
        """Return the checkpoint in the other architecture."""
        net, spec = swapped(copy.deepcopy(coming.net), spec=coming.spec, name=self.settings.architecture)
        return dataclasses.replace(coming, net=net.eval(), spec=spec)

    def change(self, checkpoint: Checkpoint, *, data: Dataset, job: Job) -> Changed:
        """Return the net in the other architecture, with recomputed batch norm statistics.

        Raises:
            UnknownName: no such architecture.
            InputError: the architecture has other layers.
        """
        samples = draw_samples(data, images=self.settings.images, seed=self.settings.seed)
        batches = labelled_batches(samples, spec=checkpoint.spec)
        restore_batch_norm_statistics(checkpoint.net, [images for images, _ in batches])
        net, spec = swapped(checkpoint.net, spec=checkpoint.spec, name=self.settings.architecture)
        recalibrate(net, batches)
        return Changed(net=net, spec=spec, account={})
