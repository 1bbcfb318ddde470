"""Unstructured sparsity: magnitude pruning and lottery tickets. No engine here runs such nets faster.

The zeros stay in dense tensors, which dense kernels process like any other number. They help research and make files
that compress well; for speed see `edgeseg.compress.prune.pruner`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from edgeseg.core.suggestions import unknown
from edgeseg.errors import CheckpointError, InputError
from edgeseg.graph.quantization_points import is_below
from edgeseg.models import load_checkpoint, resolve_model
from edgeseg.models.checkpoint import read_spec
from edgeseg.train.method import Method
from edgeseg.train.start import start_net

if TYPE_CHECKING:
    from edgeseg.core.spec import ModelSpec
    from edgeseg.train.events import OnEvent
    from edgeseg.train.recipe import Recipe
    from edgeseg.train.samples import TrainingSet

SparsityScope = Literal["global", "layer"]
_SCOPES: tuple[SparsityScope, ...] = ("global", "layer")
Masks = dict[str, Tensor]
"""Masks by layer name: booleans of the weight's shape, true where the weight stays."""


def magnitude_masks(
    net: nn.Module, *, sparsity: float, scope: SparsityScope = "global", keep: tuple[str, ...] = ()
) -> Masks:
    """Return masks that drop the share `sparsity` of the smallest weights of all convolutions and linear layers.

    Weights are ranked over the whole net ("global") or per layer. Norms, biases, auxiliary heads and the layers in
    `keep` (or below them) are not masked. It makes no dense engine faster. Zeros are dropped first, so a masked net's
    masks at a higher sparsity extend its existing ones.

    Raises:
        InputError: a share outside 0 to below 1.
        UnknownName: no such scope.
    """
    if scope not in _SCOPES:
        raise unknown("scope", scope, _SCOPES)
    if not 0 <= sparsity < 1:
        raise InputError(f"sparsity is {sparsity}; give the share of weights to drop, 0 to below 1.")
    sizes = {name: weight.detach().abs() for name, weight in _weights(net, keep=keep).items()}
    if scope == "layer":
        return {name: _largest(size, sparsity=sparsity) for name, size in sizes.items()}
    flat = _largest(torch.cat([size.flatten() for size in sizes.values()]), sparsity=sparsity)
    parts = flat.split([size.numel() for size in sizes.values()])
    return {name: part.view_as(size) for (name, size), part in zip(sizes.items(), parts, strict=True)}


@torch.no_grad()
def apply_masks(net: nn.Module, masks: Masks) -> None:
    """Set the dropped weights to zero, in place."""
    for name, mask in masks.items():
        net.get_submodule(name).weight.mul_(mask.to(net.get_submodule(name).weight))  # type: ignore[operator, arg-type]


class MaskedTraining(Method):
    """Trains with the small weights of a checkpoint fixed at zero; the saved net is stored densely.

    Masks come from `masks_from`, start weights from the recipe's `init`. With the same checkpoint for both this is
    magnitude pruning with fine-tuning (Han et al., NeurIPS 2015). With a trained net as `masks_from` and its start or
    an early checkpoint as `init`, it is a lottery ticket (Frankle & Carbin, The Lottery Ticket Hypothesis, ICLR 2019;
    late rewinding: Frankle et al., ICML 2020). It does not make dense engines faster.
    """

    def __init__(
        self, masks_from: str, *, sparsity: float, scope: SparsityScope = "global", keep: tuple[str, ...] = ()
    ) -> None:
        self._masks_from, self._sparsity, self._scope, self._keep = masks_from, sparsity, scope, keep
        self._masks: Masks = {}

    def fingerprint(self) -> str:
        """Return the hash of the masks' source and the masks' settings."""
        source = read_spec(resolve_model(self._masks_from)).weights_sha256
        settings = {"masks_from": source, "sparsity": self._sparsity, "scope": self._scope, "keep": self._keep}
        return json.dumps({"masked": settings}, sort_keys=True)

    def start(self, recipe: Recipe, spec: ModelSpec) -> tuple[nn.Module, dict[str, str]]:
        """Return the recipe's own start with the masks applied.

        Raises:
            CheckpointError: the masks belong to another net.
        """
        net, start = start_net(recipe, spec)
        source = load_checkpoint(resolve_model(self._masks_from)).net
        self._masks = magnitude_masks(source, sparsity=self._sparsity, scope=self._scope, keep=self._keep)
        own = _weights(net, keep=self._keep)
        wrong = [name for name, mask in self._masks.items() if name not in own or own[name].shape != mask.shape]
        if wrong:
            raise CheckpointError(
                f"{self._masks_from}: its layer {wrong[0]} does not fit the net that is trained. Take masks from a "
                "checkpoint of the same architecture, widths and classes."
            )
        apply_masks(net, self._masks)
        return net, start

    def prepare(self, net: nn.Module, *, spec: ModelSpec, training: TrainingSet, on_event: OnEvent | None) -> None:
        """Mask the gradients too: a weight of zero without gradient stays zero under SGD and AdamW, decay included."""
        for name, mask in self._masks.items():
            weight = net.get_submodule(name).weight
            assert isinstance(weight, nn.Parameter)
            held = mask.to(weight)
            weight.register_hook(lambda gradient, held=held: gradient * held)


def _weights(net: nn.Module, *, keep: tuple[str, ...]) -> dict[str, Tensor]:
    return {
        name: layer.weight
        for name, layer in net.named_modules()
        if isinstance(layer, (nn.Conv2d, nn.Linear)) and not is_below(name, ("aux", *keep))
    }


def _largest(size: Tensor, *, sparsity: float) -> Tensor:
    """Return a mask without the `sparsity` smallest entries; ties are broken by position, so it is deterministic."""
    dropped = size.flatten().argsort(stable=True)[: round(sparsity * size.numel())]
    mask = torch.ones(size.numel(), dtype=torch.bool, device=size.device)
    mask[dropped] = False
    return mask.view_as(size)
