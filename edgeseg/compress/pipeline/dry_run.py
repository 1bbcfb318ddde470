"""The dry run of a recipe: the nets of its stages, really changed but not trained, and the length of each training."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeseg.compress.pipeline.checks import check_start, open_training
from edgeseg.compress.pipeline.run import folder_name
from edgeseg.core.lineage import Setting, flatten
from edgeseg.core.records import encode_record
from edgeseg.models import Cost, cost, load_checkpoint

if TYPE_CHECKING:
    from edgeseg.compress.pipeline.schema import PipelineRecipe
    from edgeseg.compress.pipeline.stage import LatencyProbe, Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStage:
    """One stage: the settings that matter most, the net's cost before and after, and epochs and steps."""

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
    """All stages of a recipe, its data and start checkpoint; `size` is (height, width) in pixels."""

    name: str
    model: str
    size: tuple[int, int]
    data: str
    images: int
    stages: tuple[PlannedStage, ...]


def plan_pipeline(recipe: PipelineRecipe, *, probe: LatencyProbe | None = None) -> PipelinePlan:
    """Return the plan of a recipe; nothing is written.

    Raises:
        EdgesegError: as `compress` raises before its first stage, and as the stages' `preview` raises.
    """
    start = check_start(recipe)
    data = open_training(recipe)
    checkpoint = load_checkpoint(start.folder, size=recipe.size)
    stages = []
    for number, stage in enumerate(recipe.stages, 1):
        after = stage.preview(checkpoint, data=data, probe=probe)
        epochs = stage.training.schedule.epochs if stage.trains else 0
        stages.append(
            PlannedStage(
                folder=folder_name(number, stage),
                kind=stage.name,
                does=stage.does,
                settings=_notable(stage),
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


def _steps_per_epoch(stage: Stage, *, images: int) -> int:
    run = stage.training.run
    return math.ceil(images // run.batch / run.accumulate)


def _notable(stage: Stage) -> dict[str, Setting]:
    """Return a stage's own settings that differ from their defaults; if it trains, also learning rate, batch, seed."""
    own = flatten(_differing(stage.settings))
    if not stage.trains:
        return own
    tables = stage.training
    return {**own, "rate": tables.optimizer.rate, "batch": tables.run.batch, "seed": tables.run.seed}


def _differing(record: object) -> dict[str, object]:
    assert dataclasses.is_dataclass(record)
    found = {}
    for item in dataclasses.fields(record):
        value = getattr(record, item.name)
        if value != item.default:
            found[item.name] = _differing(value) if dataclasses.is_dataclass(value) else encode_record(value)
    return found
