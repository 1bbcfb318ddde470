"""The end of a stage: its costs and scores written into the checkpoint's lineage and into its own record."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from edgeseg.compress.pipeline.record import RECORD_FILE, StageRecord
from edgeseg.compress.stages import Job, stage_kind
from edgeseg.core.files import write_json
from edgeseg.core.lineage import DataUse, LineageStep
from edgeseg.models import cost, load_checkpoint
from edgeseg.models.checkpoint import read_spec, read_training
from edgeseg.models.lineage import data_uses, read_lineage, write_lineage

if TYPE_CHECKING:
    from edgeseg.core.spec import ModelSpec


def close(job: Job, record: StageRecord, *, seconds: float) -> StageRecord:
    """Return the record of a stage whose checkpoint is written, with its lineage beside the weights.

    The record says "done" last of all: a stage that is cut off before is looked at again.
    """
    folder = job.folder / "checkpoint"
    checkpoint = load_checkpoint(folder)
    price = cost(checkpoint.net, size=checkpoint.spec.size)
    account = read_training(folder)
    metrics = {
        **_numbers(account.get("val"), {"miou": "val_miou", "pixel_accuracy": "val_pixel_accuracy"}),
        **_numbers(account.get("times"), {"before_ms": "ms_before", "after_ms": "ms"}),
        "macs": float(price.macs),
        "parameters": float(price.parameters),
        "seconds": round(seconds, 1),
    }
    step = _step(job, spec=checkpoint.spec, record=record, metrics=metrics, data=data_uses(account.get("data")))
    (folder / "lineage.json").unlink(missing_ok=True)
    write_lineage(folder, (*read_lineage(job.parent), step))
    done = dataclasses.replace(record, state="done", weights_sha256=checkpoint.spec.weights_sha256, metrics=metrics)
    write_json(done, job.folder / RECORD_FILE)
    return done


def _step(
    job: Job, *, spec: ModelSpec, record: StageRecord, metrics: dict[str, float], data: tuple[DataUse, ...]
) -> LineageStep:
    parent = read_spec(job.parent)
    trains = stage_kind(job.stage.kind).trains
    seed = job.stage.training.run.seed if trains else getattr(job.stage.settings, "seed", None)
    return LineageStep(
        stage=job.stage.kind,
        checkpoint=spec.name,
        weights_sha256=spec.weights_sha256,
        parent=parent.name,
        parent_sha256=parent.weights_sha256,
        recipe=job.pipeline.name,
        settings=record.settings,
        data=data,
        seed=seed,
        metrics=metrics,
        command=job.command,
    )


def _numbers(found: object, names: dict[str, str]) -> dict[str, float]:
    table = found if isinstance(found, dict) else {}
    return {name: float(table[key]) for key, name in names.items() if isinstance(table.get(key), (int, float))}
