"""Quantization sensitivity: the loss from int8, layer by layer.

Everything is measured on the fake-quantized graph, which computes what int8 artifacts compute; nothing is converted.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeseg.compress.quantize.fake_quant_net import QuantNet, quant_net
from edgeseg.compress.quantize.partial_quantization import PartialRounding, sites
from edgeseg.compress.quantize.recipe import QatRecipe
from edgeseg.errors import CheckpointError, InputError
from edgeseg.graph.float_graph import float_graph
from edgeseg.graph.quantization_points import QuantizationPlan, plan_quantization
from edgeseg.metrics.confusion import ConfusionMatrix
from edgeseg.pixels import decode
from edgeseg.train.evaluate import input_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from edgeseg.core.progress import Progress
    from edgeseg.core.quantization import Ranges
    from edgeseg.models import Checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerEffect:
    """The loss when only one layer computes in int8.

    `name` is a path and an op, `path:op`. `agreement` is the share of cells with the float net's label; `miou_lost` is
    the lost mIoU (a fraction), None without labels.
    """

    name: str
    agreement: float
    miou_lost: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSqnr:
    """Signal to quantization noise in dB at a point, 10 log10(sum x^2 / sum (x - q)^2); infinite without noise.

    `sqnr_db` compares the int8 net with the float net, including all noise from earlier layers; `own_db` counts only
    the rounding of the float net's values to this point's grid.
    """

    name: str
    sqnr_db: float
    own_db: float


def layer_sensitivity(
    checkpoint: Checkpoint,
    ranges: Ranges,
    images: Sequence[np.ndarray],
    *,
    labels: Sequence[np.ndarray] | None = None,
    on_progress: Progress | None = None,
) -> tuple[LayerEffect, ...]:
    """Return the loss of each layer alone in int8, in graph order.

    `images` are (H, W, 3) BGR uint8, `labels` their (H, W) uint8 label maps; agreement is computed at the net's output
    resolution, mIoU at that of the labels.

    Raises:
        InputError: no images, or another number of labels.
        CheckpointError: the ranges belong to another checkpoint.
    """
    probe = Probe(checkpoint, ranges, images, labels=labels)
    effects = []
    for index, name in enumerate(probe.layers):
        effects.append(probe.effect(name, plan_quantization(probe.graph, only=frozenset({name}))))
        if on_progress is not None:
            on_progress("layers", index + 1, len(probe.layers))
    return tuple(effects)


def layer_sqnr(checkpoint: Checkpoint, ranges: Ranges, images: Sequence[np.ndarray]) -> tuple[LayerSqnr, ...]:
    """Return the signal-to-noise ratio at each point of the int8 net, in graph order; see `first_divergence`.

    The float layers of the ranges stay in float. Raises as `layer_sensitivity` does.
    """
    probe = Probe(checkpoint, ranges, images)
    found = plan_quantization(probe.graph, float_layers=ranges.float_layers)
    names = {node.name: point.name for point in found.points for node in point.nodes[:1]}
    sums = {name: np.zeros(3) for name in names}
    for x in probe.inputs:
        exact, rounded = PartialRounding(probe.net.graph, frozenset()), PartialRounding(probe.net.graph, sites(found))
        (wanted, own), (given, _) = exact.values(x, names), rounded.values(x, names)
        for name in names:
            noise = ((wanted[name] - given[name]).square().sum(), (wanted[name] - own[name]).square().sum())
            sums[name] += np.array([float(wanted[name].square().sum()), *map(float, noise)])
    return tuple(
        LayerSqnr(name=names[node], sqnr_db=_db(signal, noise), own_db=_db(signal, own))
        for node, (signal, noise, own) in sums.items()
    )


def first_divergence(layers: Sequence[LayerSqnr], *, below_db: float = 20.0) -> LayerSqnr | None:
    """Return the first point at which int8 diverges from float (ratio below `below_db`), None if there is none."""
    return next((layer for layer in layers if layer.sqnr_db < below_db), None)


class Probe:
    """A checkpoint's graph, any part of which can compute in int8, and test images."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        ranges: Ranges,
        images: Sequence[np.ndarray],
        *,
        labels: Sequence[np.ndarray] | None = None,
    ) -> None:
        _check(checkpoint, ranges, images, labels)
        self.spec, self.labels = checkpoint.spec, labels
        self.graph = float_graph(checkpoint.net, size=self.spec.size)
        recipe = QatRecipe(mode="ema")
        self.net: QuantNet = quant_net(checkpoint.net, size=self.spec.size, ranges=ranges.ranges, recipe=recipe).eval()
        self.net.fit()
        self.layers = plan_quantization(self.graph).in_int8
        self.inputs = [input_of(image, spec=self.spec) for image in images]
        self._exact = [self._logits(x, frozenset()) for x in self.inputs]
        self._float_miou = self._miou(self._exact)

    def effect(self, name: str, found: QuantizationPlan) -> LayerEffect:
        """Return the loss when the layers of the plan compute in int8, and everything else in float."""
        rounded = sites(found)
        given = [self._logits(x, rounded) for x in self.inputs]
        same = [float((a.argmax(1) == b.argmax(1)).float().mean()) for a, b in zip(given, self._exact, strict=True)]
        miou = self._miou(given)
        lost = None if miou is None or self._float_miou is None else self._float_miou - miou
        return LayerEffect(name=name, agreement=float(np.mean(same)), miou_lost=lost)

    def lost(self, float_layers: tuple[str, ...]) -> float:
        """Return the loss of int8 with these layers in float: lost mIoU if there are labels, else 1 - agreement."""
        found = self.effect("", plan_quantization(self.graph, float_layers=float_layers))
        return 1.0 - found.agreement if found.miou_lost is None else found.miou_lost

    def _logits(self, x: Tensor, rounded: frozenset[str]) -> Tensor:
        logits: Tensor = PartialRounding(self.net.graph, rounded).logits(x)
        return logits

    def _miou(self, logits: Sequence[Tensor]) -> float | None:
        if self.labels is None:
            return None
        confusion = ConfusionMatrix(len(self.spec.classes), ignore_index=self.spec.ignore_index)
        for item, wanted in zip(logits, self.labels, strict=True):
            tensor, rule = self.spec.outputs[0], self.spec.preprocess
            size = (wanted.shape[0], wanted.shape[1])
            given = decode(item.numpy(), tensor=tensor, preprocess=rule, input_size=self.spec.size, size=size)
            confusion.update(given, wanted)
        return confusion.miou()


def _db(signal: float, noise: float) -> float:
    if noise <= 0.0:
        return math.inf
    return 10.0 * math.log10(signal / noise) if signal > 0.0 else -math.inf


def _check(
    checkpoint: Checkpoint, ranges: Ranges, images: Sequence[np.ndarray], labels: Sequence[np.ndarray] | None
) -> None:
    if not images:
        raise InputError("No images to measure on. Give at least one.")
    if labels is not None and len(labels) != len(images):
        raise InputError(f"{len(images)} images and {len(labels)} label maps. Give one label map per image.")
    if ranges.weights_sha256 != checkpoint.spec.weights_sha256:
        raise CheckpointError(
            f"The ranges were observed on weights {ranges.weights_sha256[:12]}..., this checkpoint's are "
            f"{checkpoint.spec.weights_sha256[:12]}... Run edgeseg calibrate again."
        )
