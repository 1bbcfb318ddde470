"""From a recipe to everything a run needs."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import nn

from edgeseg.core.files import sha256_of
from edgeseg.core.spec import ModelSpec
from edgeseg.data import Sample, open_dataset
from edgeseg.errors import DatasetError, InputError
from edgeseg.models import build, load_checkpoint, load_encoder, resolve_model
from edgeseg.train.class_weights import class_weights
from edgeseg.train.describe import model_spec
from edgeseg.train.ema import WeightAverage
from edgeseg.train.events import OnEvent
from edgeseg.train.objective import Objective
from edgeseg.train.recipe import Recipe
from edgeseg.train.samples import Batches, TrainingSet, load_samples

log = logging.getLogger(__name__)
PRECISION = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """The parts of a run; `start` says what it starts from, with the SHA-256 of the weights."""

    spec: ModelSpec
    net: nn.Module
    module: nn.Module
    optimizer: torch.optim.Optimizer
    average: WeightAverage
    objective: Objective
    batches: Batches
    validation: list[Sample] | None
    start: dict[str, str]


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
        precision=PRECISION[recipe.run.precision],  # type: ignore[arg-type]
    )


def set_up(recipe: Recipe, *, fabric: Fabric, on_event: OnEvent | None = None) -> Setup:
    """Return a run's parts at its start.

    Raises:
        InputError, DatasetError, RecipeError, CheckpointError: a part that the recipe names cannot be used.
    """
    training = open_dataset(recipe.data.train, split=recipe.data.train_split)
    validation = open_dataset(recipe.data.val or recipe.data.train, split=recipe.data.val_split)
    if validation.classes != training.classes:
        raise DatasetError(
            f"{validation.name} has the classes {', '.join(validation.classes)}; "
            f"{training.name} has {', '.join(training.classes)}. Train and val need the same classes in the same order."
        )
    spec = model_spec(recipe, training)
    torch.manual_seed(recipe.run.seed)
    net, start = _net(recipe, spec)
    needs_all = recipe.data.cache or recipe.loss.class_weights in ("median-frequency", "enet")
    samples = load_samples(training, on_event=on_event) if needs_all else None
    weights = class_weights(recipe.loss, samples, classes=spec.classes, ignore_index=spec.ignore_index)
    if weights is not None:
        log.info("class weights: %s", dict(zip(spec.classes, weights.round(2).tolist(), strict=True)))
    return _assemble(
        recipe,
        spec,
        net,
        fabric=fabric,
        objective=Objective(
            recipe=recipe.loss,
            ignore_index=spec.ignore_index,
            weights=None if weights is None else torch.from_numpy(weights).to(fabric.device),
        ),
        training=TrainingSet(
            data=training,
            samples=samples if recipe.data.cache else None,
            augment=recipe.augment,
            preprocess=recipe.preprocess,
            size=recipe.model.size,
            seed=recipe.run.seed,
        ),
        validation=load_samples(validation, on_event=on_event) if fabric.is_global_zero else None,
        start=start,
    )


def _assemble(
    recipe: Recipe,
    spec: ModelSpec,
    net: nn.Module,
    *,
    fabric: Fabric,
    objective: Objective,
    training: TrainingSet,
    validation: list[Sample] | None,
    start: dict[str, str],
) -> Setup:
    if recipe.run.channels_last:
        net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if fabric.world_size > 1 and fabric.device.type == "cuda":
        # Each process sees a part of the batch; PyTorch has no synchronised batch norm on CPUs.
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
    )


def _net(recipe: Recipe, spec: ModelSpec) -> tuple[nn.Module, dict[str, str]]:
    """Return the net with its start weights, and what they are."""
    net = build(recipe.model.name, classes=len(spec.classes), size=recipe.model.size, aux=recipe.loss.aux > 0)
    if recipe.model.encoder:
        path = Path(recipe.model.encoder)
        loaded = load_encoder(net, path)
        log.info("encoder weights: %d tensors, %d missing", len(loaded.matched), len(loaded.missing))
        return net, {"encoder": path.name, "sha256": sha256_of(path)}
    if not recipe.model.init:
        return net, {}
    checkpoint = load_checkpoint(resolve_model(recipe.model.init))
    own, given = net.state_dict(), checkpoint.net.state_dict()
    fitting = {key: value for key, value in given.items() if key in own and own[key].shape == value.shape}
    if checkpoint.spec.architecture != recipe.model.name or not fitting:
        raise InputError(f"{recipe.model.init}: is a {checkpoint.spec.architecture}; the recipe trains {recipe.model.name}.")
    if checkpoint.spec.classes != spec.classes:
        # Same count, other meaning: the classifier's rows would start as wrong answers.
        last = {key for key in fitting if own[key].shape[:1] == (len(spec.classes),)}
        fitting = {key: value for key, value in fitting.items() if key not in last}
    net.load_state_dict(fitting, strict=False)
    return net, {"checkpoint": checkpoint.spec.name, "sha256": checkpoint.spec.weights_sha256}


def make_optimizer(net: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the optimizer; each group keeps its own base rate as `base`, which the schedule scales."""
    wanted = recipe.optimizer
    encoder = {id(parameter) for parameter in getattr(net, "encoder", nn.Module()).parameters()}
    groups: list[dict[str, object]] = []
    for inside, factor in ((False, 1.0), (True, wanted.encoder_rate)):
        own = [parameter for parameter in net.parameters() if (id(parameter) in encoder) == inside]
        for decayed in (True, False):
            chosen = [parameter for parameter in own if (parameter.ndim > 1) == decayed]
            if chosen:
                base = wanted.rate * factor
                decay = wanted.weight_decay if decayed else 0.0
                groups.append({"params": chosen, "lr": base, "base": base, "weight_decay": decay})
    if wanted.name == "sgd":
        return torch.optim.SGD(groups, lr=wanted.rate, momentum=wanted.momentum, nesterov=wanted.momentum > 0)
    return torch.optim.AdamW(groups, lr=wanted.rate)
