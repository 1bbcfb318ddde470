"""Converts a trained fake-quantized net back to the weights of an ordinary checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from edgeseg.errors import CheckpointError
from edgeseg.graph.norms import BatchNorm, find_norms, norm_at

if TYPE_CHECKING:
    from collections.abc import Mapping


def unfolded(net: nn.Module, weights: Mapping[str, Tensor], *, size: tuple[int, int]) -> nn.Module:
    """Return `net` with the folded weights; folding its batch norms again gives exactly these weights.

    `size` is the (height, width) of the net's input. A layer's trained bias moves to the batch norm after it: gamma 1,
    beta b', mean 0 and variance 1 - eps, so that sqrt(variance + eps) is 1.

    Raises:
        CheckpointError: the weights belong to another net.
    """
    state = net.state_dict()
    used: set[str] = set()
    for layer, norm in find_norms(net, size=size).behind.items():
        bias = f"{layer}.bias"
        if bias not in weights:
            raise CheckpointError(f"{bias} is missing: these are not the folded weights of this net.")
        state.update(_passing(norm_at(net, norm), weights[bias], path=norm))
        used.add(bias)
        if bias in state:
            state[bias] = torch.zeros_like(state[bias])
    plain = {key: value for key, value in weights.items() if key not in used}
    if odd := [key for key, value in plain.items() if key not in state or state[key].shape != value.shape]:
        raise CheckpointError(f"{odd[0]} does not fit: these are not the folded weights of this net.")
    net.load_state_dict({**state, **plain})
    return net.eval()


def _passing(norm: BatchNorm, bias: Tensor, *, path: str) -> dict[str, Tensor]:
    """Return the state of a batch norm that only adds a bias.

    Raises:
        CheckpointError: the norm has no weights and cannot hold a bias.
    """
    if not norm.affine:
        raise CheckpointError(f"{path} has no weights (affine=False) to hold the trained bias. Set affine=True.")
    ones = torch.ones_like(bias, device="cpu")
    return {
        f"{path}.weight": ones,
        f"{path}.bias": bias.detach().cpu(),
        f"{path}.running_mean": torch.zeros_like(ones),
        f"{path}.running_var": ones - norm.eps,
    }
