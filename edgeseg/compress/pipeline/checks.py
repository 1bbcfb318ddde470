"""What must hold before a pipeline's first stage, and the training recipe that a stage comes down to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.compress.stages import (
    GatesStage,
    Job,
    LotteryStage,
    PruneStage,
    QatStage,
    Settings,
    SparsifyStage,
    SwapStage,
    stage_kind,
    teaching,
)
from edgeseg.compress.surgery.fold_se_gates import check_gates
from edgeseg.core.spec import ModelSpec
from edgeseg.core.suggestions import unknown
from edgeseg.data import Dataset, open_dataset
from edgeseg.errors import InputError
from edgeseg.export import check_float_layers
from edgeseg.models import Cost, cost, load_checkpoint, resolve_model
from edgeseg.models.architecture import swapped
from edgeseg.models.checkpoint import read_spec, read_training
from edgeseg.train.recipe import ModelRecipe, Recipe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import nn

    from edgeseg.compress.pipeline.recipe import PipelineRecipe, StageRecipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """The start checkpoint with its cost at the pipeline's `size`, and the mIoU that its own account states for it."""

    folder: Path
    spec: ModelSpec
    size: tuple[int, int]
    cost: Cost
    miou: float | None


def check_start(recipe: PipelineRecipe) -> Start:
    """Return the start of a pipeline, after every check of the recipe that is quick.

    Raises:
        InputError, UnknownName, CheckpointError: a start checkpoint or a teacher that cannot be used, or one of other
            classes than the data; a layer that the net does not have; an architecture that its weights do not fit.
        DatasetError: data that cannot be used.
    """
    path = resolve_model(recipe.model).resolve()
    spec = read_spec(path)
    data = open_training(recipe)
    source = recipe.data
    validation = open_dataset(source.val or source.train, split=source.val_split)
    for found in (data, validation):
        if found.classes != spec.classes:
            raise InputError(
                f'"{recipe.model}" has the classes {", ".join(spec.classes)}; {found.name} {found.split} has '
                f"{', '.join(found.classes)}. Compress a checkpoint that was trained on the data's classes."
            )
    checkpoint = load_checkpoint(path, size=recipe.size)
    net, coming = checkpoint.net, checkpoint.spec
    before: list[Settings] = []
    for stage in recipe.stages:
        _check_stage(stage, spec=coming, images=len(data), before=before)
        before.append(stage.settings)
        if isinstance(stage.settings, GatesStage):
            check_gates(net, keep=stage.settings.keep)
        if isinstance(stage.settings, SwapStage):
            net, coming = swapped(net, spec=coming, name=stage.settings.architecture)
    _check_layers(recipe, checkpoint.net)
    return Start(
        folder=path,
        spec=spec,
        size=checkpoint.spec.size,
        cost=cost(checkpoint.net, size=checkpoint.spec.size),
        miou=_stated_miou(path) if checkpoint.spec.size == spec.size else None,
    )


def open_training(recipe: PipelineRecipe) -> Dataset:
    """Return the data set that the stages train on."""
    return open_dataset(recipe.data.train, split=recipe.data.train_split)


def training_recipe(job: Job) -> Recipe:
    """Return the training recipe of a stage: its tables, on the pipeline's data, from its parent's weights."""
    pipeline, tables, spec = job.pipeline, job.stage.training, read_spec(job.parent)
    settings = job.stage.settings
    start = settings.rewind if isinstance(settings, LotteryStage) else str(job.parent)
    return Recipe(
        schema=1,
        name=pipeline.name,
        model=ModelRecipe(name=spec.architecture, size=job.size, init=start),
        data=pipeline.data,
        augment=tables.augment,
        loss=tables.loss,
        optimizer=tables.optimizer,
        schedule=tables.schedule,
        run=tables.run,
        preprocess=spec.preprocess,
        licence=pipeline.licence or _joined(spec.licence, open_training(pipeline).licence),
        notice=pipeline.notice or spec.notice,
    )


def _joined(first: str, second: str) -> str:
    """Return both licences as one SPDX expression: the weights have learnt from both."""
    known = [part for part in dict.fromkeys((*first.split(" AND "), second)) if part]
    return " AND ".join(known)


def _check_stage(stage: StageRecipe, *, spec: ModelSpec, images: int, before: Sequence[Settings]) -> None:
    if stage_kind(stage.kind).trains and stage.training.run.batch > images:
        raise InputError(f"run.batch is {stage.training.run.batch}, but there are only {images} training images.")
    if isinstance(stage.settings, LotteryStage):
        _check_rewind(stage.settings.rewind, spec=spec, before=before)
    teachers = teaching(stage.settings)
    if teachers is not None:
        from edgeseg.compress.distill.teacher import check_teachers

        check_teachers(teachers, classes=spec.classes)


def _check_rewind(name: str, *, spec: ModelSpec, before: Sequence[Settings]) -> None:
    """Raise `InputError` for a checkpoint to rewind to that is another net than the one that comes to the stage."""
    found = read_spec(resolve_model(name))
    # How wide a prune stage leaves the net, and without which gates a gates stage does, shows only when they run:
    # neither as it started nor whole.
    pruned, folded = (any(isinstance(item, kind) for item in before) for kind in (PruneStage, GatesStage))
    fits = found.channels not in ((), spec.channels) if pruned else found.channels == spec.channels
    same = found.bypassed not in ((), spec.bypassed) if folded else found.bypassed == spec.bypassed
    if found.architecture != spec.architecture or not fits or not same:
        raise InputError(
            f'rewind = "{name}": is of another architecture, of other widths or with other gates than the net that '
            "comes to the lottery stage. Give a checkpoint that this net was trained from."
        )


def _check_layers(recipe: PipelineRecipe, net: nn.Module) -> None:
    """Raise `UnknownName` for a layer that a stage or the calibration names and the net does not have."""
    names = [name for name, _ in net.named_modules() if name]
    check_float_layers(net, recipe.calibration.float_layers or ())
    for stage in recipe.stages:
        settings = stage.settings
        if isinstance(settings, QatStage):
            check_float_layers(net, settings.float_layers)
        for layer in settings.keep if isinstance(settings, PruneStage | GatesStage | SparsifyStage) else ():
            if layer not in names:
                raise unknown("layer to keep", layer, names)


def _stated_miou(folder: Path) -> float | None:
    scores = read_training(folder).get("val")
    miou = scores.get("miou") if isinstance(scores, dict) else None
    return miou if isinstance(miou, float) else None
