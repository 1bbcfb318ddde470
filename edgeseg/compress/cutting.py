"""The stages that change a net at once, without training."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from edgeseg.compress.prune.batch_norm_recalibration import recalibrate
from edgeseg.compress.prune.budget import Budget
from edgeseg.compress.prune.pruner import Measure, Pruned, prune
from edgeseg.compress.quantize.cross_layer_equalization import equalize
from edgeseg.compress.quantize.shared_input_normalization import share_normalisation
from edgeseg.compress.stages import Change, Clock, EqualizeStage, GatesStage, Job, PruneStage, SwapStage
from edgeseg.compress.surgery.fold_se_gates import GateLoss, fold_gates
from edgeseg.core.files import read_json
from edgeseg.core.latency import LatencyTable
from edgeseg.core.records import encode
from edgeseg.errors import InputError
from edgeseg.models import Checkpoint, load_checkpoint, save_checkpoint
from edgeseg.models.architecture import swapped
from edgeseg.pixels import prepare
from edgeseg.train.batch_norm_statistics import settle_norms
from edgeseg.train.class_weights import class_weights
from edgeseg.train.data import open_pair
from edgeseg.train.describe import versions
from edgeseg.train.evaluate import evaluate, normalise
from edgeseg.train.objective import Objective
from edgeseg.train.setup import seen

if TYPE_CHECKING:
    from edgeseg.compress.pipeline.recipe import StageRecipe
    from edgeseg.compress.prune.importance import Batch
    from edgeseg.core.spec import ModelSpec
    from edgeseg.data import Dataset, Sample

BATCH = 8
TIMES_FILE = "layer_times.json"


def prune_stage(job: Job) -> None:
    """Write the pruned checkpoint of a stage's parent, with its score on the validation split before any training."""
    settings = job.stage.settings
    assert isinstance(settings, PruneStage)
    checkpoint = load_checkpoint(job.parent, size=job.size)
    data = _training(job)
    pruned = prune_checkpoint(checkpoint, job.stage, data=data, clock=job.clock, times=job.folder / TIMES_FILE)
    outcome = {"prune": encode(settings), "groups": encode(pruned.groups)}
    if pruned.after_ms is not None:
        outcome["times"] = {"before_ms": pruned.before_ms, "after_ms": pruned.after_ms}
    _keep(job, checkpoint, net=pruned.net, spec=pruned.spec, data=data, outcome=outcome)


def equalize_stage(job: Job) -> None:
    """Write the equalized checkpoint of a stage's parent, with its score on the validation split.

    Raises as `edgeseg.compress.quantize.cross_layer_equalization.equalize` and, for the image, as
    `edgeseg.compress.quantize.shared_input_normalization.share_normalisation`.
    """
    settings = job.stage.settings
    assert isinstance(settings, EqualizeStage)
    checkpoint = load_checkpoint(job.parent, size=job.size)
    data = _training(job)
    net = checkpoint.net.eval()
    images = _images(data, settings, spec=checkpoint.spec)
    links = equalize(net, images, size=job.size, balance=settings.balance)
    outcome = {"equalize": encode(settings), "links": encode(links)}
    spec = share_normalisation(net, spec=checkpoint.spec) if settings.image else checkpoint.spec
    _keep(job, checkpoint, net=net, spec=spec, data=data, outcome=outcome)


def gates_stage(job: Job) -> None:
    """Write a stage's parent with constant gates folded, with its score on the validation split.

    Raises as `edgeseg.compress.surgery.fold_se_gates.fold_gates`.
    """
    settings = job.stage.settings
    assert isinstance(settings, GatesStage)
    checkpoint = load_checkpoint(job.parent, size=job.size)
    data = _training(job)
    spec, losses = fold_checkpoint(checkpoint, settings, data=data)
    outcome = {"gates": encode(settings), "losses": encode(losses)}
    _keep(job, checkpoint, net=checkpoint.net, spec=spec, data=data, outcome=outcome)


def swap_stage(job: Job) -> None:
    """Write a stage's parent with its weights in another architecture, with its score before any training.

    Raises:
        UnknownName, InputError: as `edgeseg.models.architecture.swapped`.
    """
    settings = job.stage.settings
    assert isinstance(settings, SwapStage)
    checkpoint = load_checkpoint(job.parent, size=job.size)
    data = _training(job)
    batches = _batches(_samples(data, settings), spec=checkpoint.spec)
    settle_norms(checkpoint.net, [images for images, _ in batches])
    net, spec = swapped(checkpoint.net, spec=checkpoint.spec, name=settings.architecture)
    recalibrate(net, batches)
    _keep(job, checkpoint, net=net, spec=spec, data=data, outcome={"swap": encode(settings)})


def _training(job: Job) -> Dataset:
    return open_pair(job.pipeline.data)[0]


def _keep(
    job: Job, parent: Checkpoint, *, net: nn.Module, spec: ModelSpec, data: Dataset, outcome: dict[str, object]
) -> None:
    """Write a changed net with its score and the account of where it came from and of what was done to it."""
    settings = job.stage.settings
    assert isinstance(settings, Change)
    validation = open_pair(job.pipeline.data)[1]
    account = {
        "command": job.command,
        "recipe": job.pipeline.name,
        "start": {"checkpoint": parent.spec.name, "sha256": parent.spec.weights_sha256},
        "data": {"train": {**seen(data), "images": min(len(data), settings.images)}, "val": seen(validation)},
        "val": encode(evaluate(net, validation, spec=spec)),
        **outcome,
        "versions": versions(),
    }
    spec = dataclasses.replace(spec, name=job.pipeline.name)
    save_checkpoint(job.folder / "checkpoint", net=net, spec=spec, training=account)


def prune_checkpoint(
    checkpoint: Checkpoint,
    stage: StageRecipe,
    *,
    data: Dataset,
    clock: Clock | None = None,
    times: Path | None = None,
) -> Pruned:
    """Return what a prune stage makes of a checkpoint.

    `data` is the training split; `clock` times layers (kept in the file `times`) and nets where the stage names an
    engine.

    Raises:
        InputError: an engine is named and there is no clock, or a latency table of another engine.
        Others as `prune` does.
    """
    settings = stage.settings
    assert isinstance(settings, PruneStage)
    samples = _samples(data, settings)
    return prune(
        checkpoint,
        budget=Budget(macs=settings.macs, parameters=settings.parameters, ms=settings.ms),
        importance=settings.importance,  # type: ignore[arg-type]
        scope=settings.scope,  # type: ignore[arg-type]
        round_to=round_to(settings),
        batches=_batches(samples, spec=checkpoint.spec),
        objective=_objective(stage, samples, spec=checkpoint.spec),
        table=_table(checkpoint, settings, clock=clock, times=times),
        measure=_measure(settings, clock=clock),
        keep=settings.keep,
        floor=settings.floor,
        steer=settings.steer,
        passes=settings.passes,
    )


def fold_checkpoint(
    checkpoint: Checkpoint, settings: GatesStage, *, data: Dataset
) -> tuple[ModelSpec, tuple[GateLoss, ...]]:
    """Fold constant gates of a checkpoint's own net, in place, on training images of `data`; as `fold_gates`."""
    images = _images(data, settings, spec=checkpoint.spec)
    return fold_gates(checkpoint.net, images, spec=checkpoint.spec, agreement=settings.agreement, keep=settings.keep)


def round_to(settings: PruneStage) -> int:
    """Return the multiple that channel counts stay at: the target's, where one is named.

    Raises:
        UnknownName, InputError, RecipeError: no such target.
    """
    if not settings.target:
        return settings.round_to
    from edgeseg.targets import find_target

    return find_target(settings.target).channel_multiple


def _table(
    checkpoint: Checkpoint, settings: PruneStage, *, clock: Clock | None, times: Path | None
) -> LatencyTable | None:
    if not settings.engine:
        return None
    if not settings.table:
        return _needed(clock).table(checkpoint, settings.engine, settings.threads, times)
    found = read_json(LatencyTable, Path(settings.table))
    if (found.engine, found.threads) != (settings.engine, settings.threads):
        raise InputError(
            f"{settings.table}: holds times of {found.engine} on {found.threads} threads; the stage names "
            f"{settings.engine} on {settings.threads}. Give another table."
        )
    return found


def _measure(settings: PruneStage, *, clock: Clock | None) -> Measure | None:
    if settings.ms is None:
        return None
    timer = _needed(clock)
    return lambda checkpoint: timer.net(checkpoint, settings.engine, settings.threads)


def _needed(clock: Clock | None) -> Clock:
    if clock is None:
        raise InputError("A prune stage with an engine needs a clock: run it with `edgeseg compress`.")
    return clock


def _samples(data: Dataset, settings: Change) -> list[Sample]:
    order = np.random.default_rng(settings.seed).permutation(len(data))
    if len(order) < 2:
        raise InputError(f"{data.name} {data.split}: {len(order)} images; this stage needs two or more.")
    return [data.load(int(index)) for index in order[: settings.images]]


def _images(data: Dataset, settings: Change, *, spec: ModelSpec) -> list[Tensor]:
    """Return the images that a stage goes by, as the net takes them, in batches."""
    return [images for images, _ in _batches(_samples(data, settings), spec=spec)]


def _batches(samples: list[Sample], *, spec: ModelSpec) -> tuple[Batch, ...]:
    """Return the images as the net takes them, with their labels at the input's size, two or more in each batch."""
    count = max(1, len(samples) // BATCH)
    parts = [samples[index::count] for index in range(count)]
    made = [[_entry(sample, spec=spec) for sample in part] for part in parts]
    return tuple((torch.cat([x for x, _ in part]), torch.cat([y for _, y in part])) for part in made)


def _entry(sample: Sample, *, spec: ModelSpec) -> Batch:
    """Return one image, (1, 3, H, W), and its labels, (1, H, W)."""
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
