"""One mean and deviation for an image's three channels, taken up by the convolutions that read it.

Three of each fit no single int8 scale: the artifact then normalises in float at full size, and rounds what comes out.
With one of each, and a mean that is a byte, int8 between black and white has the bytes' own steps: a converter hands
them to the first convolution as they are.
"""

from __future__ import annotations

import dataclasses
from statistics import fmean
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from edgeseg.compress.quantize.cross_layer_equalization import convolution_at, convolution_path, norm_behind
from edgeseg.compress.quantize.fake_quant_net import float_graph
from edgeseg.errors import InputError
from edgeseg.graph.quantization_points import MOVING, aten

if TYPE_CHECKING:
    from torch.fx import Node

    from edgeseg.core.spec import ModelSpec


@torch.no_grad()
def share_normalisation(net: nn.Module, *, spec: ModelSpec) -> ModelSpec:
    """Change `net` in place to read images of one mean and deviation, and return the spec that says so.

    Away from the image's border it answers as before. There a convolution's padding, zero, stands for the mean, which
    is another colour now: by less than a fifth of the channel's deviation for the usual means.

    Raises:
        InputError: something else than convolutions over all its channels reads the image.
    """
    rule = spec.preprocess
    if rule.byte_ends is not None:
        return spec
    mean = round(fmean(rule.mean) / rule.scale) * rule.scale
    std = fmean(rule.std)
    # normalised as before = factor * normalised now + offset
    factor = torch.tensor([std / own for own in rule.std])
    offset = torch.tensor([(mean - own) / deviation for own, deviation in zip(rule.mean, rule.std, strict=True)])
    for path in _readers(net, size=spec.size):
        reader = convolution_at(net, path)
        _add(net, path, (reader.weight * offset.view(1, -1, 1, 1)).sum((1, 2, 3)))
        reader.weight.mul_(factor.view(1, -1, 1, 1))
    return dataclasses.replace(spec, preprocess=dataclasses.replace(rule, mean=(mean,) * 3, std=(std,) * 3))


def _readers(net: nn.Module, *, size: tuple[int, int]) -> list[str]:
    (image,) = (node for node in float_graph(net, size=size).graph.nodes if node.op == "placeholder")
    found = _behind(image)
    paths = [convolution_path(node) for node in found if node.target is aten.conv2d.default]
    if not paths or len(paths) < len(found) or any(convolution_at(net, path).groups > 1 for path in paths):
        raise InputError(
            "Something else than convolutions over all channels reads this net's image; these cannot share a mean. "
            "Leave image = true out of the equalize stage."
        )
    return paths


def _add(net: nn.Module, path: str, more: Tensor) -> None:
    """Add (channels,) to what a convolution makes."""
    convolution, norm = convolution_at(net, path), norm_behind(net, path)
    if convolution.bias is not None:
        convolution.bias.add_(more)
    elif norm is not None and norm.running_mean is not None:
        norm.running_mean.sub_(more)
    else:
        raise InputError(f"{path} reads the image and has neither bias nor batch norm. Leave image = true out.")


def _behind(node: Node) -> list[Node]:
    """Return what reads a node, through what only moves numbers."""
    return [found for user in node.users for found in (_behind(user) if user.target in MOVING else [user])]
