"""Moves the image normalisation into the first convolutions, so that all three channels share one mean and deviation.

Three means and deviations fit no single int8 scale: the artifact then normalises in float at full size and rounds the
result. With one mean (a whole byte) and one deviation, the int8 steps between black and white are exactly the bytes,
and a converter passes the bytes to the first convolution unchanged.
"""

from __future__ import annotations

import dataclasses
from statistics import fmean
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from edgeseg.compress.quantize.cross_layer_equalization import CONVOLUTION_OPS, convolution_at
from edgeseg.errors import InputError
from edgeseg.graph.float_graph import float_graph, layer_path
from edgeseg.graph.norms import find_norms, norm_at
from edgeseg.graph.quantization_points import MOVING

if TYPE_CHECKING:
    from torch.fx import Node

    from edgeseg.core.spec import ModelSpec


@torch.no_grad()
def share_normalisation(net: nn.Module, *, spec: ModelSpec) -> ModelSpec:
    """Change `net` in place to read images with one mean and deviation, and return its new spec.

    Away from the image border the logits do not change. At the border convolutions pad with zero, the mean, which is
    now a slightly different colour: by less than a fifth of the channel's deviation for the usual means.

    Raises:
        InputError: the image is read by something other than convolutions over all its channels.
    """
    rule = spec.preprocess
    if rule.byte_ends is not None:
        return spec
    mean = round(fmean(rule.mean) / rule.scale) * rule.scale
    std = fmean(rule.std)
    # normalised as before = factor * normalised now + offset
    factor = torch.tensor([std / own for own in rule.std])
    offset = torch.tensor([(mean - own) / deviation for own, deviation in zip(rule.mean, rule.std, strict=True)])
    norms = find_norms(net, size=spec.size)
    for path in _readers(net, size=spec.size):
        reader = convolution_at(net, path)
        _add(net, path, norm=norms.behind.get(path), more=(reader.weight * offset.view(1, -1, 1, 1)).sum((1, 2, 3)))
        reader.weight.mul_(factor.view(1, -1, 1, 1))
    return dataclasses.replace(spec, preprocess=dataclasses.replace(rule, mean=(mean,) * 3, std=(std,) * 3))


def _readers(net: nn.Module, *, size: tuple[int, int]) -> list[str]:
    (image,) = (node for node in float_graph(net, size=size).graph.nodes if node.op == "placeholder")
    found = _behind(image)
    paths = [layer_path(node) for node in found if node.target in CONVOLUTION_OPS]
    if not paths or len(paths) < len(found) or any(convolution_at(net, path).groups > 1 for path in paths):
        raise InputError(
            "This net's image is read by something other than convolutions over all channels, so its channels cannot "
            "share a mean. Remove share_input_normalization = true from the equalize stage."
        )
    return paths


def _add(net: nn.Module, path: str, *, norm: str | None, more: Tensor) -> None:
    """Add (channels,) to a convolution's output, by its own bias or the mean of the batch norm after it."""
    convolution = convolution_at(net, path)
    if convolution.bias is not None:
        convolution.bias.add_(more)
    elif norm is not None:
        mean = norm_at(net, norm).running_mean
        assert mean is not None
        mean.sub_(more)
    else:
        raise InputError(
            f"{path} reads the image and has neither bias nor batch norm. "
            "Remove share_input_normalization = true from the equalize stage."
        )


def _behind(node: Node) -> list[Node]:
    """Return the nodes that read a node, skipping ops that only move data."""
    return [found for user in node.users for found in (_behind(user) if user.target in MOVING else [user])]
