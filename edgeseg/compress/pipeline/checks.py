"""Checks before a pipeline's first stage runs."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.compress.pipeline.stage import Coming
from edgeseg.core.spec import ModelSpec
from edgeseg.errors import EdgesegError, InputError
from edgeseg.export import check_float_layers, check_kinds
from edgeseg.models import Cost, cost, load_checkpoint, resolve_model
from edgeseg.models.checkpoint import read_spec, read_training
from edgeseg.train.data import open_pair

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeseg.compress.pipeline.schema import PipelineRecipe
    from edgeseg.data import Dataset


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """The start checkpoint with its cost at the pipeline's `size`, and the mIoU in its own training.json, if any."""

    folder: Path
    spec: ModelSpec
    size: tuple[int, int]
    cost: Cost
    miou: float | None


def check_start(recipe: PipelineRecipe) -> Start:
    """Return the start of a pipeline, after all quick checks of the recipe and its stages.

    Raises:
        InputError, UnknownName, CheckpointError: the start checkpoint cannot be used or has other classes than the
            data; a stage cannot work on its input; a layer does not exist in the net.
        DatasetError: the data cannot be used.
    """
    path = resolve_model(recipe.model).resolve()
    spec = read_spec(path)
    data = open_training(recipe)
    validation = open_pair(recipe.data)[1]
    for found in (data, validation):
        if found.classes != spec.classes:
            raise InputError(
                f'"{recipe.model}" has the classes {", ".join(spec.classes)}; {found.name} {found.split} has '
                f"{', '.join(found.classes)}. Compress a checkpoint that was trained on the data's classes."
            )
    checkpoint = load_checkpoint(path, size=recipe.size)
    coming = Coming(net=checkpoint.net, spec=checkpoint.spec, images=len(data))
    for index, stage in enumerate(recipe.stages):
        with _place(f"{recipe.source}.stages[{index}] ({stage.name})"):
            coming = stage.check(coming)
    with _place(f"{recipe.source}.calibration"):
        check_kinds(selection=recipe.calibration.selection, observer=recipe.calibration.observer)
    with _place(f"{recipe.source}.calibration.float_layers"):
        check_float_layers(coming.net, recipe.calibration.float_layers or ())
    return Start(
        folder=path,
        spec=spec,
        size=checkpoint.spec.size,
        cost=cost(checkpoint.net, size=checkpoint.spec.size),
        miou=_stated_miou(path) if checkpoint.spec.size == spec.size else None,
    )


def open_training(recipe: PipelineRecipe) -> Dataset:
    """Return the data set that the stages train on."""
    return open_pair(recipe.data)[0]


@contextlib.contextmanager
def _place(place: str) -> Iterator[None]:
    """Prefix errors of the block with the place in the recipe."""
    try:
        yield
    except EdgesegError as error:
        error.args = (f"{place}: {error}", *error.args[1:])
        raise


def _stated_miou(folder: Path) -> float | None:
    scores = read_training(folder).get("val")
    miou = scores.get("miou") if isinstance(scores, dict) else None
    return miou if isinstance(miou, float) else None
