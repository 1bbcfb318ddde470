"""The stage `rewrite`: ops that an accelerator lacks, computed in other ways; training recovers what that costs."""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from edgeseg.compress.pipeline.change_stage import Changed, ChangeStage, ImageSample
from edgeseg.compress.prune.batch_norm_recalibration import recalibrate
from edgeseg.compress.training_batches import draw_samples, labelled_batches
from edgeseg.core.spec import OpRewrite
from edgeseg.errors import CheckpointError, InputError
from edgeseg.models.dry_run import check_logits
from edgeseg.models.rewriting import rewrite_ops
from edgeseg.train.batch_norm_statistics import restore_batch_norm_statistics

if TYPE_CHECKING:
    from torch import nn

    from edgeseg.compress.pipeline.stage import Coming, Job, LatencyProbe
    from edgeseg.core.spec import ModelSpec
    from edgeseg.data import Dataset
    from edgeseg.models import Checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class RewriteSettings(ImageSample):
    """Ops to compute in other ways, as `edgeseg check --rewrite` names them: { op, to, layer }.

    Batch norm statistics are recomputed; the score drops and recovers in the training that follows.
    """

    rewrites: tuple[OpRewrite, ...]

    def __post_init__(self) -> None:
        if not self.rewrites:
            raise ValueError('rewrites: name at least one, such as { op = "hardswish", to = "relu" }.')
        ImageSample.__post_init__(self)


@dataclass(frozen=True, kw_only=True)
class RewriteStage(ChangeStage):
    """Computes ops of a net in other ways, whatever that does to its labels."""

    name: ClassVar[str] = "rewrite"
    does: ClassVar[str] = "ops that an accelerator lacks, computed in other ways"

    settings: RewriteSettings

    def check(self, coming: Coming) -> Coming:
        """Return `coming` with the rewrites; raises `InputError` for one that the net does not have."""
        net, spec = self._applied(coming.net, coming.spec)
        return dataclasses.replace(coming, net=net, spec=spec)

    def preview(self, coming: Checkpoint, *, data: Dataset, probe: LatencyProbe | None) -> Checkpoint:
        """Return the rewritten checkpoint."""
        net, spec = self._applied(coming.net, coming.spec)
        return dataclasses.replace(coming, net=net.eval(), spec=spec)

    def change(self, checkpoint: Checkpoint, *, data: Dataset, job: Job) -> Changed:
        """Return the rewritten net with recomputed batch norm statistics; raises as `check`."""
        samples = draw_samples(data, images=self.settings.images, seed=self.settings.seed)
        batches = labelled_batches(samples, spec=checkpoint.spec)
        restore_batch_norm_statistics(checkpoint.net, [images for images, _ in batches])
        net, spec = self._applied(checkpoint.net, checkpoint.spec)
        recalibrate(net, batches)
        return Changed(net=net, spec=spec, account={})

    def _applied(self, net: nn.Module, spec: ModelSpec) -> tuple[nn.Module, ModelSpec]:
        changed = dataclasses.replace(spec, rewrites=(*spec.rewrites, *self.settings.rewrites))
        try:
            made = rewrite_ops(copy.deepcopy(net), self.settings.rewrites)
        except CheckpointError as error:
            raise InputError(str(error)) from None
        check_logits(made, spec=changed)
        return made, changed
