"""The tables of a training recipe, as a compression recipe's stages have them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from edgeseg.data import Augment
from edgeseg.train.recipe import LossRecipe, OptimizerRecipe, RunRecipe, SamplingRecipe, ScheduleRecipe


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingTables:
    """How a stage trains: the tables of a training recipe, with its defaults."""

    augment: Augment = field(default_factory=Augment)
    sampling: SamplingRecipe = field(default_factory=SamplingRecipe)
    loss: LossRecipe = field(default_factory=LossRecipe)
    optimizer: OptimizerRecipe = field(default_factory=OptimizerRecipe)
    schedule: ScheduleRecipe = field(default_factory=ScheduleRecipe)
    run: RunRecipe = field(default_factory=RunRecipe)


TABLES = tuple(item.name for item in dataclasses.fields(TrainingTables))
"""The names of all training tables."""
