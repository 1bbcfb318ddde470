"""Quantization-aware training as a training method: `train(recipe, out=..., method=Qat(settings))`.

The folded net is trained with fake quantization at the same points as in conversion
(`edgeseg.graph.quantization_points`), starting from a checkpoint's weights and ranges. The result is an ordinary
checkpoint with the trained ranges, from which every converter makes int8 without calibration images.
"""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import torch
from torch import nn

from edgeseg.compress.quantize.start_ranges import starting_ranges
from edgeseg.compress.quantize.unfold import unfolded
from edgeseg.core.quantization import Range, Ranges
from edgeseg.core.records import encode_record
from edgeseg.errors import InputError
from edgeseg.models import Checkpoint, build_spec, resolve_model, save_checkpoint
from edgeseg.train.method import Method
from edgeseg.train.start import start_net

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edgeseg.compress.quantize.fake_quant_net import QuantNet
    from edgeseg.compress.quantize.recipe import QatRecipe
    from edgeseg.core.spec import ModelSpec
    from edgeseg.train.recipe import Recipe, RunRecipe

OBSERVERS = {"learned": "qat-lsq", "ema": "qat-ema"}


class Qat(Method):
    """Trains the fake-quantized net; the recipe's `init` is the float checkpoint that it starts from."""

    def __init__(self, recipe: QatRecipe) -> None:
        self.recipe = recipe
        self._start: Ranges | None = None

    def fingerprint(self) -> str:
        """Return the settings."""
        return json.dumps({"qat": encode_record(self.recipe)}, sort_keys=True)

    def start(self, recipe: Recipe, spec: ModelSpec) -> tuple[nn.Module, dict[str, str]]:
        """Return the fake-quantized net of the recipe's `init`, without auxiliary heads.

        Raises:
            InputError: no `init`, a precision other than fp32, several processes, or images that cannot be used.
            CheckpointError: the weights or ranges do not fit.
            UnknownName: the net does not have one of the float layers.
        """
        from edgeseg.compress.quantize.fake_quant_net import quant_net
        from edgeseg.graph.quantization_points import IMAGE

        _check(recipe)
        bare = dataclasses.replace(recipe, loss=dataclasses.replace(recipe.loss, aux=0.0))
        net, start = start_net(bare, spec)
        folder = resolve_model(recipe.model.init)
        self._start = starting_ranges(
            Checkpoint(spec=dataclasses.replace(spec, weights_sha256=start["sha256"]), net=net.eval(), folder=folder),
            self.recipe.calibration or recipe.data.train,
            carried=not self.recipe.calibration,
        )
        still = frozenset() if spec.preprocess.byte_ends is None else frozenset({IMAGE})
        return quant_net(net, size=spec.size, ranges=self._start.ranges, recipe=self.recipe, still=still), start

    def before_step(self, net: nn.Module, *, step: int, steps: int) -> None:
        """Freeze the ranges for the last part of the run."""
        quant_net_in(net).freeze(step >= self.recipe.freeze_after * steps)

    def save(self, folder: Path, *, net: nn.Module, spec: ModelSpec, training: Mapping[str, object]) -> None:
        """Write the plain checkpoint that int8 conversion takes back to this net, with its ranges."""
        assert self._start is not None, "start comes first"
        quant = quant_net_in(net)
        trained = quant.ranges()
        ranges = dataclasses.replace(
            self._start,
            observer=OBSERVERS[self.recipe.mode],
            mode="qat",
            float_layers=self.recipe.float_layers,
            ranges=tuple(_trained(item, trained) for item in self._start.ranges),
        )
        plain = build_spec(spec)
        save_checkpoint(
            folder,
            net=unfolded(plain, quant.weights(), size=spec.size),
            spec=spec,
            training={**training, "qat": encode_record(self.recipe)},
            ranges=ranges,
        )


def quant_net_in(net: nn.Module) -> QuantNet:
    """Return the fake-quantized net that `net` is or contains."""
    from edgeseg.compress.quantize.fake_quant_net import QuantNet

    return next(module for module in net.modules() if isinstance(module, QuantNet))


def check_precision(run: RunRecipe) -> None:
    """Raise `InputError` unless a training run is in fp32."""
    if run.precision != "fp32":
        raise InputError(
            f'run.precision = "{run.precision}": scales are trained in float32. Set run.precision = "fp32".'
        )


def _check(recipe: Recipe) -> None:
    if not recipe.model.init:
        raise InputError("Quantization-aware training starts from a trained checkpoint. Set init in the recipe.")
    check_precision(recipe.run)
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        raise InputError("Quantization-aware training runs in one process. Start it without torchrun.")


def _trained(start: Range, trained: Mapping[str, tuple[float, float]]) -> Range:
    """Return a point's trained range; a point of a float layer keeps its start range."""
    low, high = trained.get(start.name, (start.low, start.high))
    return Range(name=start.name, low=low, high=high)
