"""Training: a TOML recipe, a loop that can be killed and resumed, and a checkpoint folder at its end."""

from __future__ import annotations

from edgeseg.train.events import EpochDone, Event, Loading, Notice, OnEvent, StepDone
from edgeseg.train.recipe import Recipe, override, read_recipe, recipes
from edgeseg.train.run import TrainingResult, train

__all__ = [
    "EpochDone",
    "Event",
    "Loading",
    "Notice",
    "OnEvent",
    "Recipe",
    "StepDone",
    "TrainingResult",
    "override",
    "read_recipe",
    "recipes",
    "train",
]
