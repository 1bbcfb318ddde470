"""Nets with fewer channels than their architecture: what structured pruning leaves, as data and as modules."""

from __future__ import annotations

import copy
import dataclasses
from typing import TYPE_CHECKING

from edgeseg.core.spec import LayerChannels
from edgeseg.core.suggestions import suggestion
from edgeseg.errors import CheckpointError
from edgeseg.models.architecture import build

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn


def channels_of(net: nn.Module, *, plain: nn.Module) -> tuple[LayerChannels, ...]:
    """Return the layers of net that are narrower than those of the same name in `plain`; auxiliary heads left out."""
    own, theirs = _layers(net), _layers(plain)
    found = []
    for name, layer in own.items():
        width = _width(name, layer)
        if not name.startswith("aux.") and width != _width(name, theirs[name]):
            found.append(width)
    return tuple(found)


def for_classes(
    channels: tuple[LayerChannels, ...], *, architecture: str, classes: int, size: tuple[int, int]
) -> tuple[LayerChannels, ...]:
    """Return channels with the classifiers' outputs as for another number of classes."""
    few, more = (_layers(build(architecture, classes=number, size=size)) for number in (classes, classes + 1))
    outputs = {name: _width(name, layer).outputs for name, layer in few.items()}
    fresh = {name for name, layer in more.items() if _width(name, layer).outputs != outputs[name]}
    return tuple(
        dataclasses.replace(item, outputs=outputs[item.name]) if item.name in fresh else item for item in channels
    )


def narrow(net: nn.Module, channels: tuple[LayerChannels, ...], *, size: tuple[int, int]) -> None:
    """Replace, in place, the layers of a fresh net by fresh ones of the given widths; `size` is the input's, in pixels.

    Raises:
        CheckpointError: a layer that the net does not have, or widths that do not fit each other.
    """
    from edgeseg.models.blocks.layers import initialise

    layers = _layers(net)
    for width in channels:
        if width.name not in layers:
            near = suggestion(width.name, layers)
            raise CheckpointError(f'channels: {type(net).__name__} has no layer "{width.name}".{near}')
        made = _resized(layers[width.name], width)
        initialise(made)
        _put(net, width.name, made)
    _fit_aux(net, size=size)


def _layers(net: nn.Module) -> dict[str, nn.Module]:
    from torch import nn

    kinds = (nn.Conv2d, nn.Linear, nn.BatchNorm2d)
    return {name: module for name, module in net.named_modules() if isinstance(module, kinds)}


def _width(name: str, layer: nn.Module) -> LayerChannels:
    from torch import nn

    if isinstance(layer, nn.Conv2d):
        return LayerChannels(name=name, inputs=layer.in_channels, outputs=layer.out_channels, groups=layer.groups)
    if isinstance(layer, nn.Linear):
        return LayerChannels(name=name, inputs=layer.in_features, outputs=layer.out_features)
    assert isinstance(layer, nn.BatchNorm2d)
    return LayerChannels(name=name, inputs=layer.num_features, outputs=layer.num_features)


def _resized(layer: nn.Module, width: LayerChannels) -> nn.Module:
    """Return a fresh layer of another width, everything else alike."""
    from torch import nn

    if isinstance(layer, nn.Conv2d):
        return nn.Conv2d(
            width.inputs,
            width.outputs,
            layer.kernel_size,  # type: ignore[arg-type]
            layer.stride,  # type: ignore[arg-type]
            layer.padding,  # type: ignore[arg-type]
            layer.dilation,  # type: ignore[arg-type]
            width.groups,
            bias=layer.bias is not None,
        )
    if isinstance(layer, nn.Linear):
        return nn.Linear(width.inputs, width.outputs, bias=layer.bias is not None)
    assert isinstance(layer, nn.BatchNorm2d)
    return nn.BatchNorm2d(width.outputs, eps=layer.eps, momentum=layer.momentum)


def _put(net: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, own = name.rpartition(".")
    setattr(net.get_submodule(parent), own, layer)


def _fit_aux(net: nn.Module, *, size: tuple[int, int]) -> None:
    """Give each auxiliary head's first convolution the inputs that reach it, and see that the whole net runs.

    The spec does not describe auxiliary heads, which are never saved: a dry run on tensors without data tells.
    """
    import torch

    from edgeseg.models.blocks.layers import initialise

    dry = copy.deepcopy(net).to("meta").train()
    seen: dict[int, int] = {}
    for index, head in enumerate(getattr(dry, "aux", ())):
        head.register_forward_pre_hook(_fitter(index, seen))
    try:
        with torch.no_grad():
            dry(torch.empty(2, 3, *size, device="meta"))
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(
            f"channels: the widths do not fit {type(net).__name__}: {reason} Copy the whole checkpoint again."
        ) from error
    for index, inputs in seen.items():
        name, first = _first_layer(net, index)
        made = _resized(first, LayerChannels(name=name, inputs=inputs, outputs=_width(name, first).outputs))
        initialise(made)
        _put(net, name, made)


def _first_layer(net: nn.Module, index: int) -> tuple[str, nn.Module]:
    return next((name, layer) for name, layer in _layers(net).items() if name.startswith(f"aux.{index}."))


def _fitter(index: int, seen: dict[int, int]) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    """Return a hook that notes the channels which reach an auxiliary head, and lets the dry run pass it."""

    def fit(head: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        name, first = next(iter(_layers(head).items()))
        reached = inputs[0].shape[1]
        width = _width(name, first)
        if reached != width.inputs:
            seen[index] = reached
            fitting = LayerChannels(name=name, inputs=reached, outputs=width.outputs)
            _put(head, name, _resized(first, fitting).to("meta"))

    return fit
