"""The kinds of layers whose channels edgeseg can count and change, with the attributes of their channels."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import nn

from edgeseg.core.spec import LayerChannels

if TYPE_CHECKING:
    from collections.abc import Iterable

CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)
WEIGHTED_LAYERS = (*CONVOLUTIONS, nn.Linear)
BATCH_NORMS = (nn.BatchNorm2d, nn.BatchNorm1d)
NORMS = (*BATCH_NORMS, nn.LayerNorm, nn.GroupNorm)
CHANNEL_LAYERS = (*WEIGHTED_LAYERS, *NORMS, nn.PReLU)


def channel_layers(net: nn.Module) -> dict[str, nn.Module]:
    """Return the layers of net that have channels, by name."""
    return {name: module for name, module in net.named_modules() if isinstance(module, CHANNEL_LAYERS)}


def is_depthwise(layer: nn.Module) -> bool:
    """Return whether a layer is a depthwise convolution: one input channel for each output channel."""
    return (
        isinstance(layer, CONVOLUTIONS) and layer.groups > 1 and layer.groups == layer.out_channels == layer.in_channels
    )


def width_of(name: str, layer: nn.Module) -> LayerChannels:
    """Return the channels of one of `CHANNEL_LAYERS`; those of a norm or PReLU are both its inputs and outputs."""
    if isinstance(layer, CONVOLUTIONS):
        return LayerChannels(name=name, inputs=layer.in_channels, outputs=layer.out_channels, groups=layer.groups)
    if isinstance(layer, nn.Linear):
        return LayerChannels(name=name, inputs=layer.in_features, outputs=layer.out_features)
    if isinstance(layer, nn.GroupNorm):
        count = layer.num_channels
        return LayerChannels(name=name, inputs=count, outputs=count, groups=layer.num_groups)
    if isinstance(layer, BATCH_NORMS):
        count = layer.num_features
    elif isinstance(layer, nn.LayerNorm):
        count = layer.normalized_shape[-1]
    else:
        assert isinstance(layer, nn.PReLU)
        count = layer.num_parameters
    return LayerChannels(name=name, inputs=count, outputs=count)


def resized_layer(layer: nn.Module, width: LayerChannels) -> nn.Module:
    """Return a layer with fresh weights of another width, with the same class and other settings."""
    made = copy.deepcopy(layer)
    if isinstance(made, CONVOLUTIONS):
        made.in_channels, made.out_channels, made.groups = width.inputs, width.outputs, width.groups
        ends = (width.inputs, width.outputs // width.groups)
        if isinstance(made, nn.Conv2d):
            ends = (width.outputs, width.inputs // width.groups)
        _renew(made, weight=(*ends, *made.kernel_size), bias=(width.outputs,))
    elif isinstance(made, nn.Linear):
        made.in_features, made.out_features = width.inputs, width.outputs
        _renew(made, weight=(width.outputs, width.inputs), bias=(width.outputs,))
    elif isinstance(made, nn.LayerNorm):
        made.normalized_shape = (*made.normalized_shape[:-1], width.outputs)
        _renew(made, weight=made.normalized_shape, bias=made.normalized_shape)
    elif isinstance(made, nn.PReLU):
        made.num_parameters = width.outputs
        _renew(made, weight=(width.outputs,))
    else:
        _resize_norm(made, width)
    return made


def _resize_norm(made: nn.Module, width: LayerChannels) -> None:
    shape = (width.outputs,)
    if isinstance(made, nn.GroupNorm):
        made.num_channels, made.num_groups = width.outputs, width.groups
        _renew(made, weight=shape, bias=shape)
        return
    assert isinstance(made, BATCH_NORMS)
    made.num_features = width.outputs
    for name in ("running_mean", "running_var"):
        held = getattr(made, name)
        if held is not None:
            setattr(made, name, held.new_zeros(shape))
    _renew(made, weight=shape, bias=shape)


def _renew(layer: nn.Module, **shapes: Iterable[int]) -> None:
    """Give a layer's parameters these shapes and PyTorch's initial values."""
    for name, shape in shapes.items():
        held = getattr(layer, name, None)
        if held is not None:
            setattr(layer, name, nn.Parameter(torch.empty(tuple(shape), dtype=held.dtype, device=held.device)))
    layer.reset_parameters()  # type: ignore[operator]
