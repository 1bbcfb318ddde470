"""Bias correction: folds the mean int8 error of each layer's output into its bias.

Rounding weights and activations, and clipping activations, shift the mean of a layer's outputs, and the shifts add up
from layer to layer; depthwise convolutions, with few weights a channel, shift most. The mean over images of the
difference between the float and the int8 net is added to each bias (Nagel et al., "Data-Free Quantization Through
Weight Equalization and Bias Correction", ICCV 2019, section 4.2, with measured instead of derived means). The layers
are corrected in the order in which they run, each in the net whose earlier layers are corrected already.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from edgeseg.compress.quantize.fake_quant_net import quant_net
from edgeseg.compress.quantize.paired_run import PairedLayer, PairedRun, fitting_images
from edgeseg.compress.quantize.recipe import QatRecipe
from edgeseg.compress.quantize.unfold import unfolded
from edgeseg.errors import InputError
from edgeseg.graph.float_graph import INNER

if TYPE_CHECKING:
    from torch.fx import GraphModule

    from edgeseg.core.quantization import Range


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrectedLayer:
    """A layer, by its path, and the RMS of its channels' mean int8 errors, as a share of its outputs' RMS."""

    layer: str
    mean_error: float


def correct_biases(
    net: nn.Module,
    images: Tensor,
    *,
    size: tuple[int, int],
    ranges: tuple[Range, ...],
    float_layers: tuple[str, ...] = (),
) -> tuple[nn.Module, tuple[CorrectedLayer, ...]]:
    """Return `net` with its weights rounded to int8 steps and corrected biases, and the corrected layers.

    `images` are normalised (N, 3, H, W) of `size` (height, width); as many are used as fit into
    `paired_run.MEMORY_BYTES`. The rounded weights make the float net compute what the int8 net does, up to the rounding
    of activations, so that the corrected biases are right for both. Layers without a bias, and those
    that are called twice, are not corrected. Modules in `float_layers` (paths in the net) stay in float.

    Raises:
        InputError: no layer computes in int8, or none has a bias.
        UnknownName: the net does not have one of the float layers.
        CheckpointError: the ranges belong to another net, or a batch norm has no weights to hold a bias.
    """
    quant = quant_net(net, size=size, ranges=ranges, recipe=QatRecipe(mode="ema", float_layers=float_layers)).eval()
    if not quant.layers:
        raise InputError("No layer of this net computes in int8, so there is nothing to correct. Remove this stage.")
    quant.fit()
    run = _BiasCorrection(quant.graph)
    run.run_on(fitting_images(quant.graph, images))
    if not run.done:
        raise InputError("No int8 layer of this net has a bias to correct. Remove this stage.")
    quant.round_weights()
    return unfolded(net, quant.weights(), size=size), tuple(run.done)


class _BiasCorrection(PairedRun):
    """Corrects each bias when its layer is reached."""

    def __init__(self, graph: GraphModule) -> None:
        super().__init__(graph)
        self.done: list[CorrectedLayer] = []

    def at_layer(self, layer: PairedLayer) -> Tensor:
        """Return the layer's output with its mean error taken out, which goes into its bias."""
        if layer.offset is None or not layer.own:
            return layer.rounded
        error = layer.mean(layer.exact) - layer.mean(layer.rounded)
        layer.offset.add_(error)
        share = error.square().mean().sqrt() / layer.exact.square().mean().sqrt().clamp_min(torch.finfo().tiny)
        self.done.append(CorrectedLayer(layer=layer.path.removeprefix(f"{INNER}."), mean_error=float(share)))
        return layer.rounded + error.view(layer.channels)
