"""The end of a stage: writes its costs and scores to the checkpoint's lineage and the stage's record."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from edgeseg.compress.pipeline.record import RECORD_FILE, StageRecord
from edgeseg.core.files import write_json
from edgeseg.core.lineage import LINEAGE_FILE, DataUse, LineageStep
from edgeseg.models import cost, load_checkpoint
from edgeseg.models.checkpoint import read_spec, read_training
from edgeseg.models.lineage import data_uses, read_lineage, write_lineage

if TYPE_CHECKING:
    from edgeseg.compress.pipeline.stage import Job, Stage
    from edgeseg.core.spec import ModelSpec


def close(stage: Stage, job: Job, record: StageRecord, *, seconds: float) -> StageRecord:
    """Return the record of a stage whose checkpoint is written, after writing the lineage beside the weights.

    `seconds` is how long this run took; a checkpoint whose training.json counts all runs knows better. The record says
    "done" last of all: a stage that is interrupted before is run again.
    """
    folder = job.checkpoint
    checkpoint = load_checkpoint(folder)
    price = cost(checkpoint.net, size=checkpoint.spec.size)
    account = read_training(folder)
    metrics = {
        "seconds": round(seconds, 1),
        **_numbers(account, {"seconds": "seconds"}),
        **_numbers(account.get("val"), {"miou": "val_miou", "pixel_accuracy": "val_pixel_accuracy"}),
        **_numbers(account.get("times"), {"before_ms": "ms_before", "after_ms": "ms"}),
        "macs": float(price.macs),
        "parameters": float(price.parameters),
    }
    data = data_uses(account.get("data"))
    step = _step(stage, job, spec=checkpoint.spec, record=record, metrics=metrics, data=data)
    (folder / LINEAGE_FILE).unlink(missing_ok=True)
    write_lineage(folder, (*read_lineage(job.parent), step))
    done = dataclasses.replace(record, state="done", weights_sha256=checkpoint.spec.weights_sha256, metrics=metrics)
    write_json(done, job.folder / RECORD_FILE)
    return done


def _step(
    stage: Stage,
    job: Job,
    *,
    spec: ModelSpec,
    record: StageRecord,
    metrics: dict[str, float],
    data: tuple[DataUse, ...],
) -> LineageStep:
    parent = read_spec(job.parent)
    return LineageStep(
        stage=stage.name,
        checkpoint=spec.name,
        weights_sha256=spec.weights_sha256,
        parent=parent.name,
        parent_sha256=parent.weights_sha256,
        recipe=job.result,
        settings=record.settings,
        data=data,
        seed=stage.seed,
        metrics=metrics,
        command=job.command,
    )


def _numbers(found: object, names: dict[str, str]) -> dict[str, float]:
    table = found if isinstance(found, dict) else {}
    return {name: float(table[key]) for key, name in names.items() if isinstance(table.get(key), (int, float))}
