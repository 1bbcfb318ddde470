"""Batch-norm folding: into the convolutions and linear layers before them."""

from __future__ import annotations

import copy
import logging

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights

from edgeseg.graph.norms import BatchNorm, find_norms, norm_at

_log = logging.getLogger(__name__)


def fold_batch_norms(net: nn.Module, *, size: tuple[int, int]) -> nn.Module:
    """Return a copy of `net`, in evaluation mode, whose batch norms are part of the layers before them.

    Exact in real numbers: w' = w * gamma / sqrt(var + eps), b' = beta + (b - mean) * gamma / sqrt(var + eps). Which
    norm follows which layer comes from the data flow for an image of `size` (height, width). Each folded norm is
    replaced by an identity. Norms that cannot be folded stay, and are logged with the reason.
    """
    folded = copy.deepcopy(net).eval()
    norms = find_norms(folded, size=size)
    for layer, norm in norms.behind.items():
        _fold(folded.get_submodule(layer), norm_at(folded, norm))
    _remove(folded, {norm_at(folded, norm) for norm in norms.behind.values()})
    for item in norms.kept:
        _log.info("Batch norm %s is not folded: %s.", item.norm, item.reason)
    return folded


def _fold(layer: nn.Module, norm: BatchNorm) -> None:
    """Fold a norm into the layer before it, in place."""
    weight, bias = layer.weight, layer.bias
    assert isinstance(weight, nn.Parameter)
    assert bias is None or isinstance(bias, nn.Parameter)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    statistics = (norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias)
    if isinstance(layer, nn.Linear):
        layer.weight, layer.bias = fuse_linear_bn_weights(weight, bias, *statistics)
    elif isinstance(layer, nn.ConvTranspose2d):
        layer.weight, layer.bias = _transposed(layer, norm)
    else:
        layer.weight, layer.bias = fuse_conv_bn_weights(weight, bias, *statistics)


def _transposed(layer: nn.ConvTranspose2d, norm: BatchNorm) -> tuple[nn.Parameter, nn.Parameter]:
    """Return weight and bias of a transposed convolution with its norm, for any number of groups.

    PyTorch's own fusion scales the second axis of the weight (in, out / groups, h, w), which holds all output
    channels only if there is one group.
    """
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gain = torch.rsqrt(norm.running_var + norm.eps)
    gain = gain if norm.weight is None else gain * norm.weight
    inputs, outputs = layer.weight.shape[:2]
    factors = gain.view(layer.groups, 1, outputs, 1, 1).expand(-1, inputs // layer.groups, -1, -1, -1)
    weight = layer.weight * factors.reshape(inputs, outputs, 1, 1)
    bias = -norm.running_mean if layer.bias is None else layer.bias - norm.running_mean
    shift = torch.zeros_like(bias) if norm.bias is None else norm.bias
    return _parameter(weight, like=layer.weight), _parameter(bias * gain + shift, like=layer.weight)


def _parameter(values: Tensor, *, like: Tensor) -> nn.Parameter:
    return nn.Parameter(values.detach(), requires_grad=like.requires_grad)


def _remove(net: nn.Module, norms: set[BatchNorm]) -> None:
    """Replace each norm by an identity, under every name it is stored as."""
    for module in list(net.modules()):
        for name, child in list(module._modules.items()):  # noqa: SLF001 - named_children skips a second name
            if child in norms:
                setattr(module, name, nn.Identity())
