"""The stages that change a net at once, without training."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from edgeseg.compress.budget import Budget
from edgeseg.compress.importance import Batch
from edgeseg.compress.prune import Pruned, prune
from edgeseg.compress.recipe import StageRecipe
from edgeseg.compress.stages import Job, PruneStage
from edgeseg.core.spec import ModelSpec
from edgeseg.data import Dataset, Sample, open_dataset
from edgeseg.models import Checkpoint, load_checkpoint, save_checkpoint
from edgeseg.pixels import prepare
from edgeseg.train.class_weights import class_weights
from edgeseg.train.describe import versions
from edgeseg.train.evaluate import evaluate, normalise
from edgeseg.train.objective import Objective


def prune_stage(job: Job) -> None:
    """Write the pruned checkpoint of a stage's parent, with its score on the validation split before any training."""
    import dataclasses

    from edgeseg.core.records import encode

    checkpoint = load_checkpoint(job.parent, size=job.size)
    source = job.pipeline.data
    data = open_dataset(source.train, split=source.train_split)
    pruned = prune_checkpoint(checkpoint, job.stage, data=data)
    validation = open_dataset(source.val or source.train, split=source.val_split)
    score = evaluate(pruned.net, validation, spec=pruned.spec)
    account = {
        "command": job.command,
        "recipe": job.pipeline.name,
        "start": {"checkpoint": checkpoint.spec.name, "sha256": checkpoint.spec.weights_sha256},
        "val": encode(score),
        "prune": encode(job.stage.settings),
        "groups": encode(pruned.groups),
        "versions": versions(),
    }
    spec = dataclasses.replace(pruned.spec, name=job.pipeline.name)
    save_checkpoint(job.folder / "checkpoint", net=pruned.net, spec=spec, training=account)


def prune_checkpoint(checkpoint: Checkpoint, stage: StageRecipe, *, data: Dataset) -> Pruned:
    """Return what a prune stage makes of a checkpoint; `data` is the training split."""
    settings = stage.settings
    assert isinstance(settings, PruneStage)
    batches: Sequence[Batch] = ()
    objective: Callable[[Sequence[Tensor], Tensor], Tensor] | None = None
    if settings.importance == "taylor":
        samples = _samples(data, settings)
        batches = tuple(_batch(sample, spec=checkpoint.spec) for sample in samples)
        objective = _objective(stage, samples, spec=checkpoint.spec)
    return prune(
        checkpoint,
        budget=Budget(macs=settings.macs, parameters=settings.parameters),
        importance=settings.importance,  # type: ignore[arg-type]
        scope=settings.scope,  # type: ignore[arg-type]
        round_to=settings.round_to,
        batches=batches,
        objective=objective,
        keep=settings.keep,
        floor=settings.floor,
        steer=settings.steer,
    )


def _samples(data: Dataset, settings: PruneStage) -> list[Sample]:
    order = np.random.default_rng(settings.seed).permutation(len(data))
    return [data.load(int(index)) for index in order[: settings.pictures]]


def _batch(sample: Sample, *, spec: ModelSpec) -> Batch:
    """Return a picture as the net takes it, (1, 3, H, W), and its labels at the input's size, (1, H, W)."""
    x = torch.from_numpy(prepare(sample.image, preprocess=spec.preprocess, tensor=spec.inputs[0]))
    x = normalise(x, spec=spec) if spec.preprocess.in_graph else x
    high, width = spec.size
    labels = cv2.resize(sample.labels, (width, high), interpolation=cv2.INTER_NEAREST_EXACT)
    return x, torch.from_numpy(labels)[None]


def _objective(stage: StageRecipe, samples: list[Sample], *, spec: ModelSpec) -> Objective:
    loss = stage.training.loss
    weights = class_weights(loss, samples, classes=spec.classes, ignore_index=spec.ignore_index)
    return Objective(
        recipe=loss, ignore_index=spec.ignore_index, weights=None if weights is None else torch.from_numpy(weights)
    )
