"""`run_pipeline`: the stages of a recipe, one after another, each in its own folder and resumable."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.compress.pipeline.checks import Start, check_start
from edgeseg.compress.pipeline.finalize import finish, float_layers_of
from edgeseg.compress.pipeline.lineage import close
from edgeseg.compress.pipeline.record import (
    RECORD_FILE,
    StageRecord,
    begin,
    check_same,
    check_same_data,
    check_weights,
    read_record,
    resolved,
)
from edgeseg.compress.pipeline.stage import Job, LatencyProbe
from edgeseg.core.atomic import lock
from edgeseg.core.files import MARKER, read_json_value, refuse_foreign, write_json
from edgeseg.core.records import encode_record
from edgeseg.core.suggestions import unknown
from edgeseg.data.identity import DataIdentity, DataRecord
from edgeseg.errors import EdgesegError, InputError
from edgeseg.models.checkpoint import read_spec
from edgeseg.models.resolve import CHECKPOINT_FOLDER
from edgeseg.train.data import pair_identities
from edgeseg.train.events import Event
from edgeseg.train.faults import writing

if TYPE_CHECKING:
    from edgeseg.compress.pipeline.schema import PipelineRecipe
    from edgeseg.compress.pipeline.stage import Stage

PIPELINE_FILE, DATA_FILE = "pipeline.json", "data.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class StageBegun:
    """Stage `number` of `total` starts, or is already `done`."""

    number: int
    total: int
    kind: str
    done: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StageResult:
    """A stage's mIoU (a fraction) on the validation split, MACs per image, parameters, and wall time.

    The first result of a pipeline is the start checkpoint's, with `stage` "start".
    """

    stage: str
    folder: str
    miou: float | None
    macs: int
    parameters: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CompressionResult:
    """Every stage's result, and the final checkpoint folder with its ranges; None if the pipeline is not done."""

    stages: tuple[StageResult, ...]
    checkpoint: Path | None
    ranges: str


OnPipelineEvent = Callable[[Event | StageBegun], None]


def run_pipeline(
    recipe: PipelineRecipe,
    *,
    out: Path,
    resume: bool = False,
    only: str | None = None,
    on_event: OnPipelineEvent | None = None,
    command: str = "",
    accelerator: str = "auto",
    probe: LatencyProbe | None = None,
) -> CompressionResult:
    """Run all stages of `recipe`, each in `out/NN-kind`, and calibrate in `out/checkpoint`; return the results.

    With `resume`, finished stages are reused and an interrupted one continues from its last saved state, bit for bit on
    the same machine. `only` (a number, a kind or `NN-kind`) runs one stage; those before it must be done. `probe` is
    for stages that measure latency on an engine; measured times vary slightly between runs.

    Raises:
        InputError: `out` is not a pipeline's folder, another process is writing it, or it holds another pipeline or a
            stage made with other settings or data.
        UnknownName: `only` names no stage of the recipe.
        RecipeError, DatasetError, CheckpointError, TrainingError: as the stages raise.
    """
    out = out.expanduser().resolve()
    refuse_foreign(out, replaced=False)
    chosen = None if only is None else _chosen(recipe, only)
    if not resume and chosen is None and any(out.glob(f"*/{RECORD_FILE}")):
        raise InputError(f"{out}: already holds a pipeline. Continue it with --resume, or choose another --out.")
    start = check_start(recipe)
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    with lock(out):
        identities = pair_identities(recipe.data, on_event=on_event)
        same_calibration = _prepare(recipe, out=out, start=start, chosen=chosen, identities=identities)
        first = Job(
            result=recipe.name,
            data=recipe.data,
            parent=start.folder,
            folder=out,
            size=start.size,
            command=command,
            licence=recipe.licence,
            notice=recipe.notice,
            data_sha256={role: found.sha256 for role, found in identities.items()},
            accelerator=accelerator,
            on_event=on_event,
            probe=probe,
            float_layers=float_layers_of(recipe, start=start),
        )
        return _run_stages(recipe, first, start=start, chosen=chosen, keep=same_calibration, on_event=on_event)


def _prepare(
    recipe: PipelineRecipe, *, out: Path, start: Start, chosen: int | None, identities: dict[str, DataIdentity]
) -> bool:
    """Check `out` against the recipe and the data, write both down there; return whether its ranges can stay."""
    _check_records(recipe, out=out, start=start, chosen=chosen, identities=identities)
    stored, account = _stored_calibration(out / PIPELINE_FILE), _account(recipe)
    same_calibration = stored == account["calibration"]
    if stored is not None and (out / CHECKPOINT_FOLDER).is_dir():
        # Until this run calibrates anew, which it may not come to: the next one must not take the old ranges for these.
        account = {**account, "calibration": stored}
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        (out / MARKER).touch()
        write_json(account, out / PIPELINE_FILE)
        write_json(DataRecord(sets=identities), out / DATA_FILE)
    return same_calibration


def _run_stages(
    recipe: PipelineRecipe,
    first: Job,
    *,
    start: Start,
    chosen: int | None,
    keep: bool,
    on_event: OnPipelineEvent | None,
) -> CompressionResult:
    """Return the results of the stages up to `chosen`; `first` is a job whose folder is the whole pipeline's."""
    out = first.folder
    results = [_start_result(start)]
    parent = start.folder
    for number, stage in enumerate(recipe.stages[:chosen], 1):
        job = dataclasses.replace(first, parent=parent, folder=out / folder_name(number, stage))
        begun = StageBegun(number=number, total=len(recipe.stages), kind=stage.name, done=_is_done(job.folder))
        results.append(_result(job, _finished(stage, job, begun=begun, on_event=on_event)))
        parent = job.checkpoint
    if chosen is not None and chosen < len(recipe.stages):
        return CompressionResult(stages=tuple(results), checkpoint=None, ranges="")
    ranges = finish(recipe, last=parent, start=start, out=out / CHECKPOINT_FOLDER, keep=keep, on_event=on_event)
    with writing(out):
        write_json(_account(recipe), out / PIPELINE_FILE)
    return CompressionResult(stages=tuple(results), checkpoint=out / CHECKPOINT_FOLDER, ranges=ranges)


def _account(recipe: PipelineRecipe) -> dict[str, object]:
    """Return the content of pipeline.json: the resolved recipe, with the kind of each stage."""
    whole = {item.name: encode_record(getattr(recipe, item.name)) for item in dataclasses.fields(recipe)}
    stages = [
        {"kind": stage.name, "settings": encode_record(stage.settings), "training": encode_record(stage.training)}
        for stage in recipe.stages
    ]
    return {**whole, "stages": stages}


def _start_result(start: Start) -> StageResult:
    price = start.cost
    return StageResult(
        stage="start", folder="", miou=start.miou, macs=price.macs, parameters=price.parameters, seconds=0.0
    )


def _stored_calibration(path: Path) -> object:
    """Return the calibration settings in a pipeline.json, or None if there is none."""
    try:
        found = read_json_value(path)
    except EdgesegError:
        return None
    return found.get("calibration") if isinstance(found, dict) else None


def folder_name(number: int, stage: Stage) -> str:
    """Return the name of a stage's folder, `01-prune`."""
    return f"{number:02d}-{stage.name}"


def _chosen(recipe: PipelineRecipe, only: str) -> int:
    """Return the number of the stage that `only` names."""
    names = [folder_name(number, stage) for number, stage in enumerate(recipe.stages, 1)]
    kinds = [stage.name for stage in recipe.stages]
    if only.isascii() and only.isdigit() and 1 <= int(only) <= len(names):
        return int(only)
    if only in names:
        return names.index(only) + 1
    if kinds.count(only) == 1:
        return kinds.index(only) + 1
    if only in kinds:
        raise InputError(
            f'--only "{only}": the recipe has {kinds.count(only)} such stages. Choose one of {", ".join(names)}.'
        )
    raise unknown("stage", only, [*names, *kinds])


def _check_records(
    recipe: PipelineRecipe, *, out: Path, start: Start, chosen: int | None, identities: dict[str, DataIdentity]
) -> None:
    """Raise `InputError` if stages in `out` do not match the recipe, before any stage runs."""
    sha256 = start.spec.weights_sha256
    for number, stage in enumerate(recipe.stages, 1):
        folder = out / folder_name(number, stage)
        others = [other for other in out.glob(f"{number:02d}-*/{RECORD_FILE}") if other.parent != folder]
        if others:
            raise InputError(
                f"{others[0].parent}: is stage {number} of another recipe; this one has {folder.name}. "
                "Choose another --out."
            )
        record = read_record(folder)
        if record is not None:
            settings = resolved(stage, data=recipe.data, size=start.size)
            check_same(record, stage, folder=folder, parent_sha256=sha256, settings=settings)
            check_same_data(record, folder=folder, now=identities, details=out / DATA_FILE)
        if record is None or record.state != "done":
            if chosen is not None and number < chosen:
                raise InputError(f"{folder}: is not done; run the stages before stage {chosen} first.")
            return
        check_weights(record, folder=folder, weights=folder / CHECKPOINT_FOLDER / "weights.safetensors")
        sha256 = record.weights_sha256


def _is_done(folder: Path) -> bool:
    record = read_record(folder)
    return record is not None and record.state == "done"


def _finished(stage: Stage, job: Job, *, begun: StageBegun, on_event: OnPipelineEvent | None) -> StageRecord:
    """Run the rest of a stage and return its record."""
    if on_event is not None:
        on_event(begun)
    record = read_record(job.folder)
    settings = resolved(stage, data=job.data, size=job.size)
    parent_sha256 = read_spec(job.parent).weights_sha256
    if record is not None:  # an earlier stage may have been made anew since
        check_same(record, stage, folder=job.folder, parent_sha256=parent_sha256, settings=settings)
        if begun.done:
            return record
    else:
        refuse_foreign(job.folder, replaced=False)
        with writing(job.folder):
            job.folder.mkdir(parents=True, exist_ok=True)
            (job.folder / MARKER).touch()
            record = begin(
                job.folder, kind=stage.name, parent_sha256=parent_sha256, settings=settings, data=job.data_sha256
            )
    started = time.monotonic()
    stage.run(job)
    with writing(job.folder):
        return close(stage, job, record, seconds=time.monotonic() - started)


def _result(job: Job, record: StageRecord) -> StageResult:
    metrics = record.metrics
    return StageResult(
        stage=record.kind,
        folder=job.folder.name,
        miou=metrics.get("val_miou"),
        macs=int(metrics["macs"]),
        parameters=int(metrics["parameters"]),
        seconds=metrics["seconds"],
    )
