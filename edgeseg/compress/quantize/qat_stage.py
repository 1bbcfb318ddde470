"""The stage `qat`: quantization-aware training, of weights and activation ranges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from edgeseg.compress.distill.distill_stage import teacher_hashes
from edgeseg.compress.distill.recipe import DistillRecipe
from edgeseg.compress.pipeline.stage import Leaves
from edgeseg.compress.pipeline.training_stage import TrainingStage
from edgeseg.compress.quantize.recipe import QatRecipe
from edgeseg.export import check_float_layers

if TYPE_CHECKING:
    from edgeseg.compress.pipeline.stage import Coming, Job
    from edgeseg.train.method import Method

RANGES = Leaves(name="ranges", lost_by="any", how="changes the weights that its ranges were trained with")


@dataclass(frozen=True, slots=True, kw_only=True)
class QatSettings(QatRecipe):
    """Quantization-aware training, with distillation if `distill` is given."""

    distill: DistillRecipe | None = None


@dataclass(frozen=True, kw_only=True)
class QatStage(TrainingStage):
    """Trains the fake-quantized net; its checkpoint includes the trained ranges."""

    name: ClassVar[str] = "qat"
    does: ClassVar[str] = "train through int8: weights and ranges"
    without_effect: ClassVar[tuple[str, ...]] = ("distill.cache",)
    leaves: ClassVar[tuple[Leaves, ...]] = (RANGES,)

    settings: QatSettings

    def check(self, coming: Coming) -> Coming:
        """Return `coming` unchanged; raises for layers, a precision or teachers that cannot be used."""
        from edgeseg.compress.distill.teacher import check_teachers
        from edgeseg.compress.quantize.qat import check_precision

        check_float_layers(coming.net, self.settings.float_layers)
        check_precision(self.training.run)
        if self.settings.distill is not None:
            paste = self.training.sampling.paste
            check_teachers(self.settings.distill, classes=coming.spec.classes, paste=paste)
        return super().check(coming)

    def inputs(self) -> dict[str, str]:
        """Return the hash of each teacher's weights."""
        return {} if self.settings.distill is None else teacher_hashes(self.settings.distill)

    def method(self, job: Job) -> Method:
        """Return quantization-aware training, wrapped in distillation if there are teachers."""
        from edgeseg.compress.distill.method import Distill
        from edgeseg.compress.quantize.qat import Qat

        own = Qat(self.settings)
        return own if self.settings.distill is None else Distill(self.settings.distill, student=own)
