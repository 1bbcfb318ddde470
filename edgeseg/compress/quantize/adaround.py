"""AdaRound: rounds each weight up or down so that the layer's output, not the weight, changes least.

Nagel et al., "Up or Down? Adaptive Rounding for Post-Training Quantization", ICML 2020, sections 3.3 and 3.4. The
layers are rounded in the order in which they run. Each is fitted to the float net's output (asymmetric reconstruction,
before the activation) from the inputs that the int8 net gives it, whose earlier layers are rounded already. A layer is
a linear map of patches, so it is fitted on a few thousand places of the images; other places say whether that helped.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from edgeseg.compress.quantize.fake_quant import LARGEST_WEIGHT
from edgeseg.compress.quantize.fake_quant_net import quant_net
from edgeseg.compress.quantize.paired_run import PairedLayer, PairedRun, fitting_images
from edgeseg.compress.quantize.patches import Patches, sampled_patches
from edgeseg.compress.quantize.recipe import QatRecipe
from edgeseg.compress.quantize.unfold import unfolded
from edgeseg.errors import InputError
from edgeseg.graph.float_graph import INNER

if TYPE_CHECKING:
    from torch.fx import GraphModule

    from edgeseg.core.progress import Progress
    from edgeseg.core.quantization import Range

_PLACES, _FITTED, _BATCH = 2560, 0.8, 256
"""Places of all images, the share that a layer is fitted on, and the places of one step. The others judge the fit."""
_LEAST_PLACES = 10
_ZETA, _GAMMA = 1.1, -0.1
"""The stretched sigmoid h(v) = clip((zeta - gamma) sigmoid(v) + gamma, 0, 1) reaches 0 and 1 (equation 23)."""
_WARM_UP, _BETA = 0.2, (20.0, 2.0)
"""The share of steps without the regularizer, and how its exponent falls after them (equation 24)."""
_WEIGHT, _RATE = 1.0, 2e-2
"""Of the regularizer, relative to the error of the nearest steps, and of Adam."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundedLayer:
    """A layer, by its path, and its output's squared error as a share of its power: with the nearest steps, and now.

    Both are measured at places that it was not fitted on.
    """

    layer: str
    nearest_error: float
    error: float


def round_adaptively(
    net: nn.Module,
    images: Tensor,
    *,
    size: tuple[int, int],
    ranges: tuple[Range, ...],
    float_layers: tuple[str, ...] = (),
    steps: int = 500,
    seed: int = 0,
    on_progress: Progress | None = None,
) -> tuple[nn.Module, tuple[RoundedLayer, ...]]:
    """Return `net` with its weights on int8 steps, chosen in `steps` steps a layer, and the layers in graph order.

    `images` are normalised (N, 3, H, W) of `size` (height, width); as many are used as fit into
    `paired_run.MEMORY_BYTES`. Modules in `float_layers` (paths in the net) stay in float. A layer whose output
    does not come closer at other places than with the nearest steps gets those. The result depends on `seed` alone.

    Raises:
        InputError: no layer computes in int8.
        UnknownName: the net does not have one of the float layers.
        CheckpointError: the ranges belong to another net, or a batch norm has no weights to hold a bias.
    """
    recipe = QatRecipe(mode="ema", float_layers=float_layers)
    quant = quant_net(net, size=size, ranges=ranges, recipe=recipe).eval()
    if not quant.layers:
        raise InputError("No layer of this net computes in int8, so none can be rounded. Remove this stage.")
    quant.fit()
    run = _AdaptiveRounding(quant.graph, steps=steps, seed=seed, layers=quant.layers, on_progress=on_progress)
    run.run_on(fitting_images(quant.graph, images))
    quant.round_weights()
    return unfolded(net, quant.weights(), size=size), tuple(run.done)


class _AdaptiveRounding(PairedRun):
    """Rounds each weight when its layer is reached."""

    def __init__(self, graph: GraphModule, *, steps: int, seed: int, layers: int, on_progress: Progress | None) -> None:
        super().__init__(graph)
        self.done: list[RoundedLayer] = []
        self._steps, self._layers, self._on_progress = steps, layers, on_progress
        self._random = torch.Generator().manual_seed(seed)

    def at_layer(self, layer: PairedLayer) -> Tensor:
        """Return the layer's output with its weight rounded."""
        patches = sampled_patches(layer, places=_PLACES, random=self._random) if layer.own else None
        if patches is None or len(patches) < _LEAST_PLACES:  # called twice, a transposed convolution, or a gate
            return layer.rounded
        fitting, judging = patches.split(_FITTED)
        nearest, scales = layer.fake(layer.weight), layer.fake.scales(layer.weight)
        fitted = _fitted(layer.weight, scales, fitting, steps=self._steps, random=self._random)
        power = float(judging.outputs.square().mean()) or 1.0
        before, after = (float(judging.error(weight)) / power for weight in (nearest, fitted))
        self.done.append(
            RoundedLayer(layer=layer.path.removeprefix(f"{INNER}."), nearest_error=before, error=min(before, after))
        )
        if self._on_progress is not None:
            self._on_progress("rounded layers", len(self.done), self._layers)
        if after >= before:
            return layer.rounded
        layer.weight.copy_(fitted)
        return layer.call(fitted)


def _fitted(weight: Tensor, scales: Tensor, patches: Patches, *, steps: int, random: torch.Generator) -> Tensor:
    """Return the weight (O, ...) on its steps, rounded up or down for the least error of the output."""
    scale = scales.view(-1, *[1] * (weight.ndim - 1))
    low = (weight / scale).floor()
    part = weight / scale - low
    # The largest weight of a channel keeps its end, from which conversion finds the scale; and a sparse net its zeros.
    fixed = ((weight / scale).abs() >= LARGEST_WEIGHT - 0.5) | (weight == 0)
    start = (part.clamp(0.01, 0.99) - _GAMMA) / (_ZETA - _GAMMA)
    unit = patches.error((low + part.round()) * scale).clamp_min(torch.finfo().tiny)
    with torch.enable_grad():
        choice = torch.logit(start).requires_grad_()
        optimizer = torch.optim.Adam([choice], lr=_RATE)
        for step in range(steps):
            share = _stretched(choice)
            rounded = (low + torch.where(fixed, part.round(), share)).clamp(-LARGEST_WEIGHT, LARGEST_WEIGHT) * scale
            chosen = torch.randint(len(patches), (min(_BATCH, len(patches)),), generator=random)
            loss = patches.error(rounded, chosen) / unit
            if step >= _WARM_UP * steps:
                done = (step / steps - _WARM_UP) / (1 - _WARM_UP)
                beta = _BETA[1] + 0.5 * (_BETA[0] - _BETA[1]) * (1 + math.cos(done * math.pi))
                loss = loss + _WEIGHT * (1 - (2 * share - 1).abs().pow(beta)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    up = torch.where(fixed, part.round(), (_stretched(choice.detach()) >= 0.5).to(part))
    return (low + up).clamp(-LARGEST_WEIGHT, LARGEST_WEIGHT) * scale


def _stretched(choice: Tensor) -> Tensor:
    return (choice.sigmoid() * (_ZETA - _GAMMA) + _GAMMA).clamp(0, 1)
