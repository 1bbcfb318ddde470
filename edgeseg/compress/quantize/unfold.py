"""A trained fake-quantized net as an ordinary checkpoint's weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from edgeseg.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Mapping


def unfolded(net: nn.Module, weights: Mapping[str, Tensor]) -> nn.Module:
    """Return `net` with folded weights in it: folding its batch norms gives them again, bit for bit.

    A convolution without a bias has the batch norm after it carry the bias: gamma 1, beta b', mean 0 and variance
    1 - eps, whose square root with eps is 1.

    Raises:
        CheckpointError: weights of another net.
    """
    state = net.state_dict()
    used: set[str] = set()
    for name, module in net.named_modules():
        for index in range(len(module) - 1 if isinstance(module, nn.Sequential) else 0):
            conv, norm = module[index], module[index + 1]  # type: ignore[index]
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                prefix = f"{name}." if name else ""
                bias = f"{prefix}{index}.bias"
                if bias not in weights:
                    raise CheckpointError(f"{bias} is missing: these are not the folded weights of this net.")
                state.update(_passing(norm, weights[bias], prefix=f"{prefix}{index + 1}."))
                used.add(bias)
                if conv.bias is not None:
                    state[bias] = torch.zeros_like(state[bias])
    plain = {key: value for key, value in weights.items() if key not in used}
    if odd := [key for key, value in plain.items() if key not in state or state[key].shape != value.shape]:
        raise CheckpointError(f"{odd[0]} does not fit: these are not the folded weights of this net.")
    net.load_state_dict({**state, **plain})
    return net.eval()


def _passing(norm: nn.BatchNorm2d, bias: Tensor, *, prefix: str) -> dict[str, Tensor]:
    """Return the state of a batch norm that adds a bias and changes nothing else."""
    ones = torch.ones_like(bias, device="cpu")
    return {
        f"{prefix}weight": ones,
        f"{prefix}bias": bias.detach().cpu(),
        f"{prefix}running_mean": torch.zeros_like(ones),
        f"{prefix}running_var": ones - norm.eps,
    }
