"""What a pipeline would do: the nets of its stages, changed for real but not trained, and how long each trains."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeseg.compress.pipeline.checks import check_start, open_training
from edgeseg.compress.pipeline.run import folder_name
from edgeseg.compress.stages import Clock, GatesStage, PruneStage, stage_kind
from edgeseg.core.lineage import Setting, flatten
from edgeseg.core.records import encode
from edgeseg.errors import InputError
from edgeseg.models import Checkpoint, Cost, cost, load_checkpoint

if TYPE_CHECKING:
    from edgeseg.compress.pipeline.recipe import PipelineRecipe, StageRecipe
    from edgeseg.data import Dataset

PLANNING_IMAGES = 8
"""On how many images at most a plan looks for gates that can go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStage:
    """One stage: the settings that matter most, the net before and after, and epochs and steps."""

    folder: str
    kind: str
    does: str
    settings: dict[str, Setting]
    before: Cost
    after: Cost
    epochs: int
    steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelinePlan:
    """All stages of a recipe, on which data, from which checkpoint; `size` is (height, width) in pixels."""

    name: str
    model: str
    size: tuple[int, int]
    data: str
    images: int
    stages: tuple[PlannedStage, ...]


def plan_pipeline(recipe: PipelineRecipe, *, clock: Clock | None = None) -> PipelinePlan:
    """Return the plan of a recipe; nothing is written.

    Raises:
        EdgesegError: as `compress` does before and in its pruning.
    """
    start = check_start(recipe)
    data = open_training(recipe)
    checkpoint = load_checkpoint(start.folder, size=recipe.size)
    stages = []
    for number, stage in enumerate(recipe.stages, 1):
        after = _changed(checkpoint, stage, data=data, clock=clock)
        epochs = stage.training.schedule.epochs if stage_kind(stage.kind).trains else 0
        stages.append(
            PlannedStage(
                folder=folder_name(number, stage),
                kind=stage.kind,
                does=stage_kind(stage.kind).does,
                settings=_told(stage),
                before=cost(checkpoint.net, size=start.size),
                after=cost(after.net, size=start.size),
                epochs=epochs,
                steps=epochs * _steps_per_epoch(stage, images=len(data)),
            )
        )
        checkpoint = after
    return PipelinePlan(
        name=recipe.name,
        model=recipe.model,
        size=start.size,
        data=f"{data.name} {data.split}",
        images=len(data),
        stages=tuple(stages),
    )


def _changed(checkpoint: Checkpoint, stage: StageRecipe, *, data: Dataset, clock: Clock | None) -> Checkpoint:
    """Return the checkpoint with its net as wide, and with the gates, as the stage leaves it."""
    settings = stage.settings
    if isinstance(settings, PruneStage):
        from edgeseg.compress.cutting import prune_checkpoint

        pruned = prune_checkpoint(checkpoint, stage, data=data, clock=clock)
        return dataclasses.replace(checkpoint, net=pruned.net, spec=pruned.spec)
    if isinstance(settings, GatesStage):
        from edgeseg.compress.cutting import fold_checkpoint

        few = dataclasses.replace(settings, images=min(settings.images, PLANNING_IMAGES))
        # Without the training before it the net may have no gate that can go: the run will tell.
        with contextlib.suppress(InputError):
            own = dataclasses.replace(checkpoint, net=copy.deepcopy(checkpoint.net))
            spec, _ = fold_checkpoint(own, few, data=data)
            return dataclasses.replace(own, spec=spec)
    return checkpoint


def _steps_per_epoch(stage: StageRecipe, *, images: int) -> int:
    run = stage.training.run
    return math.ceil(images // run.batch / run.accumulate)


def _told(stage: StageRecipe) -> dict[str, Setting]:
    """Return the settings of a stage's kind that are not their defaults; of one that trains also rate, batch, seed."""
    own = flatten(_differing(stage.settings))
    if not stage_kind(stage.kind).trains:
        return own
    tables = stage.training
    return {**own, "rate": tables.optimizer.rate, "batch": tables.run.batch, "seed": tables.run.seed}


def _differing(record: object) -> dict[str, object]:
    assert dataclasses.is_dataclass(record)
    found = {}
    for item in dataclasses.fields(record):
        value = getattr(record, item.name)
        if value != item.default:
            found[item.name] = _differing(value) if dataclasses.is_dataclass(value) else encode(value)
    return found
