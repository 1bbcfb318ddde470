"""The stage `sparsify`: keeps single weights at zero while the others train."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from edgeseg.compress.layer_names import check_layers
from edgeseg.compress.pipeline.stage import Leaves
from edgeseg.compress.pipeline.training_stage import TrainingStage
from edgeseg.compress.prune.sparsity import MaskedTraining, SparsityScope

if TYPE_CHECKING:
    from edgeseg.compress.pipeline.stage import Coming, Job
    from edgeseg.train.method import Method

ZEROS = Leaves(name="zeros", lost_by="training", how="trains its zeros away")


@dataclass(frozen=True, slots=True, kw_only=True)
class SparsifySettings:
    """Unstructured sparsity; see `edgeseg.compress.prune.sparsity`. It gives no speed-up on any engine here."""

    sparsity: float
    scope: SparsityScope = "global"
    keep: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.sparsity < 1:
            raise ValueError("sparsity is the share of weights that become zero, above 0 to below 1.")


@dataclass(frozen=True, kw_only=True)
class SparsifyStage(TrainingStage):
    """Drops the smallest weights of its parent and trains the others."""

    name: ClassVar[str] = "sparsify"
    does: ClassVar[str] = "zero single weights, train the rest; no faster"
    leaves: ClassVar[tuple[Leaves, ...]] = (ZEROS,)

    settings: SparsifySettings

    def check(self, coming: Coming) -> Coming:
        """Return `coming` unchanged; raises `UnknownName` for a layer that the net does not have."""
        check_layers(self.settings.keep, coming.net)
        return super().check(coming)

    def method(self, job: Job) -> Method:
        """Return training with masks from the parent's weights."""
        own = self.settings
        return MaskedTraining(str(job.parent), sparsity=own.sparsity, scope=own.scope, keep=own.keep)
