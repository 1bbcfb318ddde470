"""From a recipe to everything a run needs."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from lightning_fabric import Fabric
from lightning_fabric.wrappers import _FabricModule
from torch import nn

from edgeseg.core.spec import ModelSpec
from edgeseg.data import DataIdentity, Dataset, Sample
from edgeseg.train.batch_norm_statistics import restore_batch_norm_statistics, training_images
from edgeseg.train.class_weights import class_weights
from edgeseg.train.data import augment_for, read_pair
from edgeseg.train.describe import model_spec
from edgeseg.train.ema import WeightAverage
from edgeseg.train.method import Method
from edgeseg.train.objective import Objective
from edgeseg.train.optimizer import make_optimizer
from edgeseg.train.rare_classes import rare_classes
from edgeseg.train.samples import Batches, TrainingSet

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from edgeseg.train.events import OnEvent
    from edgeseg.train.recipe import Recipe

_log = logging.getLogger(__name__)
_PRECISION = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """The parts of a run.

    Only the first process has `validation` and `identities`. `start` describes the start weights, `data` the data.
    """

    spec: ModelSpec
    net: nn.Module
    module: _FabricModule
    optimizer: torch.optim.Optimizer
    average: WeightAverage
    objective: Objective
    method: Method
    batches: Batches
    validation: Sequence[Sample] | None
    start: dict[str, str]
    data: dict[str, object]
    identities: dict[str, DataIdentity]
    layout: torch.memory_format


def open_fabric(recipe: Recipe, *, accelerator: str = "auto") -> Fabric:
    """Return Fabric for this process: one device, or the processes that torchrun or `fabric run` started."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_WORLD_SIZE", world))
    launched = world > 1
    return Fabric(
        accelerator=accelerator,
        devices=local if launched else 1,
        num_nodes=world // local if launched else 1,
        strategy="ddp" if launched else "auto",
        precision=_PRECISION[recipe.run.precision],  # type: ignore[arg-type]
    )


def set_up(
    recipe: Recipe, *, method: Method, fabric: Fabric, skip_broken: bool = False, on_event: OnEvent | None = None
) -> Setup:
    """Return a run's parts at its start.

    Raises:
        InputError, DatasetError, RecipeError, CheckpointError: something that the recipe names cannot be used.
    """
    data = read_pair(recipe.data, skip_broken=skip_broken, first=fabric.is_global_zero, on_event=on_event)
    training, samples = data.training.data, data.training.samples
    spec = model_spec(recipe, training)
    torch.manual_seed(recipe.run.seed)
    net, start = method.start(recipe, spec)
    images = TrainingSet(
        data=training,
        samples=samples,
        augment=augment_for(recipe.augment, ignore_index=training.ignore_index),
        preprocess=recipe.preprocess,
        size=recipe.model.size,
        seed=recipe.run.seed,
        rare=rare_classes(
            recipe.sampling, samples or _each(training), classes=spec.classes, ignore_index=spec.ignore_index
        ),
    )
    restore_batch_norm_statistics(net, training_images(images, spec=spec))
    identities = data.identities() if fabric.is_global_zero else {}
    parts = _assemble(
        recipe,
        spec,
        net,
        fabric=fabric,
        method=method,
        objective=_objective(recipe, spec, samples or _each(training), device=fabric.device),
        training=images,
        validation=None if data.validation is None else data.validation.samples,
        start=start,
        seen={
            role: seen(found, sha256=identities[role].sha256 if identities else "")
            for role, found in (("train", training), ("val", data.validation_data))
        },
        identities=identities,
    )
    method.prepare(parts.net, spec=spec, training=parts.batches.training, on_event=on_event)
    return parts


def _each(data: Dataset) -> Iterator[Sample]:
    return (data.load(index) for index in range(len(data)))


def seen(data: Dataset, *, sha256: str) -> dict[str, object]:
    """Return the record of a data set for training.json; `sha256` is the hash of its content (`DataIdentity`)."""
    return {
        "name": data.name, "split": data.split, "images": len(data), "licence": data.licence, "sha256": sha256
    }  # fmt: skip


def _objective(recipe: Recipe, spec: ModelSpec, samples: Iterable[Sample], *, device: torch.device) -> Objective:
    weights = class_weights(recipe.loss, samples, classes=spec.classes, ignore_index=spec.ignore_index)
    if weights is not None:
        shown = zip(spec.classes, weights.tolist(), strict=True)
        _log.info("class weights: %s", ", ".join(f"{name} {weight:.2f}" for name, weight in shown))
    return Objective(
        recipe=recipe.loss,
        ignore_index=spec.ignore_index,
        weights=None if weights is None else torch.from_numpy(weights).to(device),
    )


def _assemble(
    recipe: Recipe,
    spec: ModelSpec,
    net: nn.Module,
    *,
    fabric: Fabric,
    method: Method,
    objective: Objective,
    training: TrainingSet,
    validation: Sequence[Sample] | None,
    start: dict[str, str],
    seen: dict[str, object],
    identities: dict[str, DataIdentity],
) -> Setup:
    layout = memory_format(recipe, device=fabric.device)
    if layout is torch.channels_last:
        net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if fabric.world_size > 1 and fabric.device.type == "cuda":
        # Each process gets a part of the batch; PyTorch has no synchronised batch norm on CPUs.
        net = nn.SyncBatchNorm.convert_sync_batchnorm(net)
    average = WeightAverage(net.to(fabric.device), decay=recipe.run.ema)
    module, optimizer = fabric.setup(net, make_optimizer(net, recipe))
    return Setup(
        spec=spec,
        net=net,
        module=module,
        optimizer=optimizer,
        average=average,
        objective=objective,
        method=method,
        batches=Batches(
            training=training,
            count=len(training.data),
            batch=recipe.run.batch,
            workers=recipe.run.workers,
            rank=fabric.global_rank,
            world=fabric.world_size,
        ),
        validation=validation,
        start=start,
        data=seen,
        identities=identities,
        layout=layout,
    )


def memory_format(recipe: Recipe, *, device: torch.device) -> torch.memory_format:
    """Return the memory format of images and weights: the recipe's, but always contiguous for bfloat16 on a CPU.

    There, PyTorch 2.13's weight gradient of a dilated depthwise convolution in channels-last order sometimes contains
    NaN (Fast-SCNN's fusion module, seen on AVX512-BF16).
    """
    unsafe = device.type == "cpu" and recipe.run.precision == "bf16"
    return torch.channels_last if recipe.run.channels_last and not unsafe else torch.contiguous_format
