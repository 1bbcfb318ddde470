"""The net that a run starts from."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.core.files import sha256_of
from edgeseg.errors import InputError
from edgeseg.models import build_spec, load_checkpoint, load_encoder, resolve_model
from edgeseg.models.build import classifier_keys

if TYPE_CHECKING:
    from torch import nn

    from edgeseg.core.spec import ModelSpec, Preprocess
    from edgeseg.train.recipe import Recipe

_log = logging.getLogger(__name__)


def start_net(recipe: Recipe, spec: ModelSpec) -> tuple[nn.Module, dict[str, str]]:
    """Return the net with its start weights, and their origin (name and SHA-256).

    Raises:
        InputError: no such weights, or a checkpoint of another architecture.
        CheckpointError: the weights cannot be read or do not fit.
    """
    checkpoint = load_checkpoint(resolve_model(recipe.model.init)) if recipe.model.init else None
    if checkpoint is not None and checkpoint.spec.architecture != recipe.model.name:
        raise InputError(
            f'init = "{recipe.model.init}" is a {checkpoint.spec.architecture}; the recipe trains {recipe.model.name}. '
            "Start from a checkpoint of the same architecture."
        )
    net = build_spec(spec, aux=recipe.loss.aux > 0)
    if recipe.model.encoder:
        path = Path(recipe.model.encoder)
        loaded = load_encoder(net, path)
        _log.info("encoder weights%s: %d tensors", f" of {loaded.layout}" * bool(loaded.layout), len(loaded.matched))
        if loaded.preprocess is not None:
            _compare(path, trained=loaded.preprocess, now=recipe.preprocess, keys=("mean", "std"))
        return net, {"encoder": path.name, "sha256": sha256_of(path)}
    if checkpoint is None:
        return net, {}
    _compare(
        recipe.model.init,
        trained=checkpoint.spec.preprocess,
        now=recipe.preprocess,
        keys=("color_order", "scale", "mean", "std"),
    )
    given = checkpoint.net.state_dict()
    if checkpoint.spec.classes != spec.classes:
        classifier = classifier_keys(spec)
        given = {key: value for key, value in given.items() if key not in classifier}
        _log.info("other classes: the classifier starts fresh (%d tensors)", len(classifier))
    net.load_state_dict(given, strict=False)
    return net, {"checkpoint": checkpoint.spec.name, "sha256": checkpoint.spec.weights_sha256}


def _compare(source: Path | str, *, trained: Preprocess, now: Preprocess, keys: tuple[str, ...]) -> None:
    """Log a warning where start weights were trained on images that were prepared otherwise than the recipe's."""
    other = [key for key in keys if getattr(trained, key) != getattr(now, key)]
    if other:
        values = ", ".join(f"{key} = {_shown(getattr(trained, key))}" for key in other)
        _log.warning("%s: trained on images with %s: set this in the recipe's [preprocess]", source, values)


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return str([round(item, 6) for item in value])
    return f'"{value}"' if isinstance(value, str) else str(value)
