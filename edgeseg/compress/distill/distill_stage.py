"""The stage `distill`: training on labels and teachers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from edgeseg.compress.distill.recipe import DistillRecipe
from edgeseg.compress.pipeline.training_stage import TrainingStage

if TYPE_CHECKING:
    from edgeseg.compress.pipeline.stage import Coming, Job
    from edgeseg.train.method import Method


@dataclass(frozen=True, kw_only=True)
class DistillStage(TrainingStage):
    """Trains on labels and on teacher outputs."""

    name: ClassVar[str] = "distill"
    does: ClassVar[str] = "train on labels and teachers"
    without_effect: ClassVar[tuple[str, ...]] = ("cache",)

    settings: DistillRecipe

    def check(self, coming: Coming) -> Coming:
        """Return `coming` unchanged; raises as `check_teachers` does, and `InputError` for a missing teacher."""
        from edgeseg.compress.distill.teacher import check_teachers

        check_teachers(self.settings, classes=coming.spec.classes, paste=self.training.sampling.paste)
        return super().check(coming)

    def inputs(self) -> dict[str, str]:
        """Return the hash of each teacher's weights."""
        return teacher_hashes(self.settings)

    def method(self, job: Job) -> Method:
        """Return the training method with distillation terms in the loss."""
        from edgeseg.compress.distill.method import Distill

        return Distill(self.settings)


def teacher_hashes(recipe: DistillRecipe) -> dict[str, str]:
    """Return the SHA-256 of each teacher's weights, by `teacher NAME`.

    Raises:
        InputError, UnknownName: no such checkpoint.
    """
    from edgeseg.models import resolve_model
    from edgeseg.models.checkpoint import read_spec

    return {f"teacher {name}": read_spec(resolve_model(name)).weights_sha256 for name in recipe.teachers}
