"""The base of stages that train: one training run from the parent's weights, resumable at every saved step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from edgeseg.compress.pipeline.stage import Coming, Job, Stage
from edgeseg.compress.pipeline.tables import TABLES
from edgeseg.compress.pipeline.terms import with_terms
from edgeseg.errors import InputError
from edgeseg.models.checkpoint import read_spec
from edgeseg.train.recipe import ModelRecipe, Recipe

if TYPE_CHECKING:
    from edgeseg.train.method import Method


@dataclass(frozen=True, slots=True, kw_only=True)
class NoSettings:
    """No settings besides the training tables."""


@dataclass(frozen=True, kw_only=True)
class TrainingStage(Stage):
    """A stage that trains; `method` says how its training differs from `edgeseg train`."""

    trains: ClassVar[bool] = True
    tables: ClassVar[tuple[str, ...]] = TABLES

    @property
    def seed(self) -> int | None:
        """The training run's seed."""
        return self.training.run.seed

    def check(self, coming: Coming) -> Coming:
        """Return `coming` unchanged; raises `InputError` if a batch needs more images than there are."""
        if self.training.run.batch > coming.images:
            raise InputError(
                f"run.batch is {self.training.run.batch}, but there are only {coming.images} training images."
            )
        return coming

    def method(self, job: Job) -> Method:
        """Return the training method; the default is plain training."""
        from edgeseg.train.method import Method

        return Method()

    def start(self, job: Job) -> str:
        """Return the checkpoint whose weights the training starts from: the parent's."""
        return str(job.parent)

    def run(self, job: Job) -> None:
        """Train, or continue from the last saved state; raises as `edgeseg.train.train` does."""
        from edgeseg.train import train
        from edgeseg.train.state import STATE_FILE

        train(
            self.training_recipe(job),
            out=job.folder,
            resume=(job.folder / STATE_FILE).is_file(),
            on_event=job.on_event,
            command=job.command,
            accelerator=job.accelerator,
            method=self.method(job),
        )

    def training_recipe(self, job: Job) -> Recipe:
        """Return the stage's training recipe: its tables, on the recipe's data, from the weights of `start`."""
        tables, spec = self.training, with_terms(read_spec(job.parent), job=job)
        return Recipe(
            schema=1,
            name=job.result,
            model=ModelRecipe(name=spec.architecture, size=job.size, init=self.start(job)),
            data=job.data,
            augment=tables.augment,
            sampling=tables.sampling,
            loss=tables.loss,
            optimizer=tables.optimizer,
            schedule=tables.schedule,
            run=tables.run,
            preprocess=spec.preprocess,
            licence=spec.licence,
            notice=spec.notice,
        )
