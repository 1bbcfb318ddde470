"""Smoothing: moves the outlier channels of layer norms and linear layers into the weights of the layers that read them.

In transformers a few channels behind a layer norm dwarf the others, and int8 has one scale for all of them. The norm's
weight and bias, divided by a factor per channel, give smaller outliers, and the linear layers and convolutions that
read the norm multiply the weights of that channel by it: the net's output stays the same (Xiao et al., "SmoothQuant:
Accurate and Efficient Post-Training Quantization for Large Language Models", ICML 2023, equations 3 and 4). A linear
layer whose channels are read by depthwise convolutions only, as in SegFormer's feed-forward, is smoothed likewise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from edgeseg.compress.quantize.cross_layer_equalization import (
    Equalized,
    Link,
    channel_spread,
    check_same_logits,
    equalizing_factors,
    measure_links,
    without_dead,
)
from edgeseg.errors import InputError
from edgeseg.graph.channel_axis import Shapes, channel_readers, node_shapes, tensor_reads
from edgeseg.graph.float_graph import float_graph, layer_path
from edgeseg.graph.quantization_points import op_name

if TYPE_CHECKING:
    from collections.abc import Sequence


def smooth(
    net: nn.Module, images: Sequence[Tensor], *, size: tuple[int, int], balance: float = 0.5
) -> tuple[Equalized, ...]:
    """Smooth `net` in place and return the result for each link, in graph order.

    Channel ranges are measured on `images`, normalised (N, 3, H, W) of `size` (height, width). A channel with range r,
    read with weights up to w (relative to the largest of each output), is divided by r^balance / w^(1 - balance);
    `balance` is the paper's alpha.

    Raises:
        InputError: no image, a net without layer norms that can be smoothed, or a net whose output changes by more than
            rounding.
    """
    if not images:
        raise InputError("Smoothing measures channels on images, and none was given.")
    graph = float_graph(net, size=size)
    links = find_norm_links(graph, net, node_shapes(graph, images[0][:1]))
    if not links:
        raise InputError(
            "This net has no layer norm whose channels only linear layers and convolutions read. Remove this stage; "
            "equalize does the same between convolutions."
        )
    with torch.no_grad():
        before = net(images[0][:1])
        held = measure_links(graph, links, images, channel_axis=-1)
        done = tuple(_apply(net, link, held=held[link.maker], balance=balance) for link in links)
        check_same_logits(before, net(images[0][:1]), what="Smoothing")
    return done


def find_norm_links(graph: GraphModule, net: nn.Module, shapes: Shapes) -> tuple[Link, ...]:
    """Return the links from layer norms and linear layers of a float graph, in graph order; channels are the last axis.

    Each maker and reader is called once: with other calls, other channels would be scaled too.
    """
    reads = tensor_reads(graph)
    found = []
    for node in graph.graph.nodes:
        if op_name(node) not in ("layer_norm", "linear") or node not in shapes:
            continue
        readers = channel_readers(node, axis=len(shapes[node]) - 1, shapes=shapes)
        weight = _weight(node)
        if not readers or weight is None or any(reads[str(_weight(item.node).target)] > 1 for item in readers):  # type: ignore[union-attr]
            continue
        if op_name(node) == "linear" and not all(item.depthwise for item in readers):
            continue
        path = str(weight.target).removesuffix(".weight").split(".", maxsplit=1)[-1]
        if reads[str(weight.target)] == 1 and _is_layer(net, path):
            found.append(Link(maker=path, readers=tuple(layer_path(item.node) for item in readers), output=node))
    return tuple(found)


def _weight(node: Node) -> Node | None:
    """Return the node of a layer's stored weight; None for a norm without weights."""
    place = 2 if op_name(node) == "layer_norm" else 1
    weight = node.args[place] if len(node.args) > place else None
    return weight if isinstance(weight, Node) and weight.op == "get_attr" else None


def _is_layer(net: nn.Module, path: str) -> bool:
    try:
        found = net.get_submodule(path)
    except AttributeError:
        return False
    return isinstance(found, nn.Linear) or (isinstance(found, nn.LayerNorm) and len(found.normalized_shape) == 1)


def _apply(net: nn.Module, link: Link, *, held: Tensor, balance: float) -> Equalized:
    readers = [_reader_at(net, path) for path in link.readers]
    held = without_dead(held)
    factors = equalizing_factors(held, readers, balance=balance)
    maker = net.get_submodule(link.maker)
    assert isinstance(maker, (nn.LayerNorm, nn.Linear))
    maker.weight.div_(factors if isinstance(maker, nn.LayerNorm) else factors.view(-1, 1))
    if maker.bias is not None:
        maker.bias.div_(factors)
    for reader in readers:
        outer = isinstance(reader, nn.Conv2d) and reader.groups > 1
        shape = [1] * reader.weight.ndim
        shape[0 if outer else 1] = -1
        reader.weight.mul_(factors.view(shape))
    return Equalized(link=link.name, spread_before=channel_spread(held), spread_after=channel_spread(held / factors))


def _reader_at(net: nn.Module, path: str) -> nn.Linear | nn.Conv2d:
    found = net.get_submodule(path)
    assert isinstance(found, (nn.Linear, nn.Conv2d))
    return found
