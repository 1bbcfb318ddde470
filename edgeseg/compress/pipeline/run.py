"""`compress`: the stages of a recipe, one after the other, each in a folder of its own that can be resumed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.compress.pipeline.checks import Start, check_start, training_recipe
from edgeseg.compress.pipeline.finalize import finish
from edgeseg.compress.pipeline.lineage import close
from edgeseg.compress.pipeline.record import (
    RECORD_FILE,
    StageRecord,
    begin,
    check_same,
    check_weights,
    read_record,
    resolved,
)
from edgeseg.compress.stages import Clock, Job, stage_kind
from edgeseg.core.files import MARKER, refuse_foreign, write_json
from edgeseg.core.records import encode
from edgeseg.core.suggestions import unknown
from edgeseg.errors import InputError
from edgeseg.train.events import Event

if TYPE_CHECKING:
    from edgeseg.compress.pipeline.recipe import PipelineRecipe, StageRecipe

PIPELINE_FILE, CHECKPOINT = "pipeline.json", "checkpoint"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageBegun:
    """Stage `number` of `total` starts, or is found to be `done` already."""

    number: int
    total: int
    kind: str
    done: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StageResult:
    """What a stage gave: mIoU (a fraction) on the validation split, MACs of one image, parameters, its wall time.

    The first of a pipeline's results is the start checkpoint's, as `stage` "start".
    """

    stage: str
    folder: str
    miou: float | None
    macs: int
    parameters: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CompressionResult:
    """Every stage's result, and the final checkpoint folder with its ranges; None where the pipeline is not done."""

    stages: tuple[StageResult, ...]
    checkpoint: Path | None
    ranges: str


OnPipelineEvent = Callable[[Event | StageBegun], None]


def compress(
    recipe: PipelineRecipe,
    *,
    out: Path,
    resume: bool = False,
    only: str | None = None,
    on_event: OnPipelineEvent | None = None,
    command: str = "",
    accelerator: str = "auto",
    clock: Clock | None = None,
) -> CompressionResult:
    """Return the result of all stages of `recipe`, each in `out/NN-kind`, and of the calibration in `out/checkpoint`.

    With `resume`, finished stages are taken as they are and a half-done one goes on from its last state, bit for bit on
    the same machine. `only` (a number, a kind or `NN-kind`) runs one stage; those before it must be done. `clock` is
    for prune stages that name an engine; what they measure differs a little from run to run.

    Raises:
        InputError: a folder that is not a pipeline's, one that holds another, or a stage made from other settings.
        UnknownName: `only` names no stage of the recipe.
        RecipeError, DatasetError, CheckpointError, TrainingError: as the stages' own work does.
    """
    out = out.expanduser().resolve()
    refuse_foreign(out)
    chosen = None if only is None else _chosen(recipe, only)
    if not resume and chosen is None and any(out.glob(f"*/{RECORD_FILE}")):
        raise InputError(f"{out}: holds a pipeline already. Give --resume to go on, or another --out.")
    start = check_start(recipe)
    _check_records(recipe, out=out, start=start, chosen=chosen)
    out.mkdir(parents=True, exist_ok=True)
    (out / MARKER).touch()
    same_calibration = _calibration_was(out / PIPELINE_FILE) == encode(recipe.calibration)
    write_json(recipe, out / PIPELINE_FILE)
    results = [StageResult(stage="start", folder="", miou=start.miou, macs=start.cost.macs,
                           parameters=start.cost.parameters, seconds=0.0)]  # fmt: skip
    parent = start.folder
    for number, stage in enumerate(recipe.stages, 1):
        job = Job(
            pipeline=recipe, stage=stage, number=number, parent=parent, folder=out / folder_name(number, stage),
            size=start.size, command=command, accelerator=accelerator, on_event=on_event,
            clock=clock,
        )  # fmt: skip
        record = _stage(job, total=len(recipe.stages), on_event=on_event)
        results.append(_result(job, record))
        parent = job.folder / CHECKPOINT
        if number == chosen:
            break
    if chosen is not None and chosen < len(recipe.stages):
        return CompressionResult(stages=tuple(results), checkpoint=None, ranges="")
    ranges = finish(recipe, last=parent, start=start, out=out / CHECKPOINT, keep=same_calibration, on_event=on_event)
    return CompressionResult(stages=tuple(results), checkpoint=out / CHECKPOINT, ranges=ranges)


def _calibration_was(path: Path) -> object:
    """Return the calibration settings that a pipeline's folder was filled with before, or None."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found.get("calibration") if isinstance(found, dict) else None


def folder_name(number: int, stage: StageRecipe) -> str:
    """Return the name of a stage's folder, `01-prune`."""
    return f"{number:02d}-{stage.kind}"


def _chosen(recipe: PipelineRecipe, only: str) -> int:
    """Return the number of the stage that `only` names."""
    names = [folder_name(number, stage) for number, stage in enumerate(recipe.stages, 1)]
    kinds = [stage.kind for stage in recipe.stages]
    if only.isascii() and only.isdigit() and 1 <= int(only) <= len(names):
        return int(only)
    if only in names:
        return names.index(only) + 1
    if kinds.count(only) == 1:
        return kinds.index(only) + 1
    if only in kinds:
        raise InputError(
            f'--only "{only}": the recipe has {kinds.count(only)} such stages. Name one of {", ".join(names)}.'
        )
    raise unknown("stage", only, [*names, *kinds])


def _check_records(recipe: PipelineRecipe, *, out: Path, start: Start, chosen: int | None) -> None:
    """Raise `InputError` where what is there does not fit the recipe, before any stage runs."""
    sha256 = start.spec.weights_sha256
    for number, stage in enumerate(recipe.stages, 1):
        folder = out / folder_name(number, stage)
        others = [other for other in out.glob(f"{number:02d}-*/{RECORD_FILE}") if other.parent != folder]
        if others:
            raise InputError(
                f"{others[0].parent}: stage {number} of another recipe; this one has {folder.name}. "
                "Choose another --out."
            )
        record = read_record(folder)
        if record is not None:
            check_same(record, folder=folder, parent_sha256=sha256, settings=resolved(recipe, stage, size=start.size))
        if record is None or record.state != "done":
            if chosen is not None and number < chosen:
                raise InputError(f"{folder}: is not done; run the stages before stage {chosen} first.")
            return
        check_weights(record, folder=folder, weights=folder / CHECKPOINT / "weights.safetensors")
        sha256 = record.weights_sha256


def _stage(job: Job, *, total: int, on_event: OnPipelineEvent | None) -> StageRecord:
    """Return the record of a stage that is done, after doing what is left of it."""
    record = read_record(job.folder)
    done = record is not None and record.state == "done"
    if on_event is not None:
        on_event(StageBegun(number=job.number, total=total, kind=job.stage.kind, done=done))
    if record is not None and done:
        return record
    return _run(job, record)


def _run(job: Job, record: StageRecord | None) -> StageRecord:
    from edgeseg.models.checkpoint import read_spec
    from edgeseg.train import train
    from edgeseg.train.state import STATE_FILE

    if record is None:
        refuse_foreign(job.folder)
        job.folder.mkdir(parents=True, exist_ok=True)
        (job.folder / MARKER).touch()
        settings = resolved(job.pipeline, job.stage, size=job.size)
        record = begin(
            job.folder, kind=job.stage.kind, parent_sha256=read_spec(job.parent).weights_sha256, settings=settings
        )
    kind, started = stage_kind(job.stage.kind), time.monotonic()
    seconds: float | None = None
    if kind.change is not None:
        kind.change(job)
    if kind.method is not None:
        result = train(
            training_recipe(job),
            out=job.folder,
            resume=(job.folder / STATE_FILE).is_file(),
            on_event=job.on_event,
            command=job.command,
            accelerator=job.accelerator,
            method=kind.method(job),
        )
        seconds = result.seconds
    return close(job, record, seconds=time.monotonic() - started if seconds is None else seconds)


def _result(job: Job, record: StageRecord) -> StageResult:
    metrics = record.metrics
    return StageResult(
        stage=job.stage.kind,
        folder=job.folder.name,
        miou=metrics.get("val_miou"),
        macs=int(metrics["macs"]),
        parameters=int(metrics["parameters"]),
        seconds=metrics["seconds"],
    )
