"""Cross-layer equalization: the same net, with channels of more alike size, so that one int8 scale serves them all.

Between two convolutions with nothing but positively homogeneous operations (f(s x) = s f(x) for s > 0: ReLU, means,
resizes, a gate's product), a channel may be divided by s where it is made and multiplied by s where it is read: the net
answers as before (Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019).
There the sizes are the weights'; here what a channel holds is measured on images, as activations have one scale for
all channels and int8 weights one for each.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from edgeseg.compress.quantize.fake_quant_net import INNER, float_graph
from edgeseg.errors import InputError
from edgeseg.graph.node_values import NodeObserver
from edgeseg.graph.quantization_points import aten

if TYPE_CHECKING:
    from collections.abc import Sequence

HOMOGENEOUS = (
    aten.relu.default,
    aten.relu_.default,
    aten.mean.dim,
    aten.avg_pool2d.default,
    aten.max_pool2d.default,
    aten.upsample_bilinear2d.vec,
    aten.upsample_nearest2d.vec,
)
PRODUCT = aten.mul.Tensor
# Single outliers would decide for a whole channel; calibration clips them too.
QUANTILE = 0.9999
LEAST = 1e-6
LARGEST_FACTOR = 100.0
# Of the largest logit: what rounding in float32 makes of the same net in another order.
TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A convolution whose channels only the convolutions `readers` read, by the modules' paths in the plain net."""

    maker: str
    readers: tuple[str, ...]
    output: Node

    @property
    def name(self) -> str:
        """What the link is called in reports."""
        return f"{self.maker} -> {', '.join(self.readers)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Equalized:
    """One link, and how many times its median channel the largest one held, before and after."""

    link: str
    spread_before: float
    spread_after: float


def equalize(
    net: nn.Module, images: Sequence[Tensor], *, size: tuple[int, int], balance: float = 0.5
) -> tuple[Equalized, ...]:
    """Equalize `net` in place and return what became of each link, in the order of the graph.

    `images` are normalised ones (N, 3, H, W) of `size` (height, width), on which channels are measured. A channel
    that holds up to r and is read with weights up to w (relative to the largest of each output) is divided by
    r^balance / w^(1 - balance) (Xiao et al., "SmoothQuant", ICML 2023, equation 4), and by r where only depthwise
    convolutions read it: their weights have a scale of their own for each channel, and lose nothing.

    Raises:
        InputError: no image, a net without links, or one whose answers change by more than rounding.
    """
    if not images:
        raise InputError("Equalization measures channels on images, and none was given.")
    graph = float_graph(net, size=size)
    links = find_links(graph)
    if not links:
        raise InputError(
            "This net has no channels to equalize: none pass from a convolution to convolutions through nothing but "
            "ReLU, means, pools, resizes and gates. Leave this stage out."
        )
    with torch.no_grad():
        before = net(images[0][:1])
        sizes = _measure(graph, links, images)
        done = tuple(_apply(net, link, held=sizes[link.maker], balance=balance) for link in links)
        after = net(images[0][:1])
    _check_same(before, after)
    return done


def find_links(graph: GraphModule) -> tuple[Link, ...]:
    """Return the links of a float graph whose batch norms are folded, in its order."""
    found = []
    for node in graph.graph.nodes:
        if node.target is not aten.conv2d.default:
            continue
        readers = _readers(node, seen=set())
        if readers:
            paths = tuple(convolution_path(reader) for reader in readers)
            found.append(Link(maker=convolution_path(node), readers=paths, output=_activated(node)))
    return tuple(found)


def _readers(node: Node, *, seen: set[Node]) -> list[Node] | None:
    """Return the convolutions that read what `node` makes through homogeneous operations alone, else None."""
    found: list[Node] = []
    for user in node.users:
        if user in seen:
            continue
        seen.add(user)
        if user.target is aten.conv2d.default and user.args[0] is node and _takes_factors(user):
            found.append(user)
        elif user.target in HOMOGENEOUS or (user.target is PRODUCT and _gated(user, by=node)):
            below = _readers(user, seen=seen)
            if below is None:
                return None
            found.extend(below)
        else:
            return None
    return found


def _takes_factors(convolution: Node) -> bool:
    """Return whether each input channel has weights of its own: no groups, or one group a channel."""
    groups = _arguments(convolution)["groups"]
    weight = _weight(convolution)
    return groups == 1 or (weight.shape[1] == 1 and weight.shape[0] == groups)


def _gated(product: Node, *, by: Node) -> bool:
    """Return whether the other factor is a sigmoid: bounded, and the same whatever `by` was divided by, because the
    convolution that reads `by` for it takes the factors up.
    """
    other = [item for item in product.args[:2] if item is not by]
    gates = (aten.hardsigmoid.default, aten.hardsigmoid_.default, aten.sigmoid.default)
    return len(other) == 1 and isinstance(other[0], Node) and other[0].target in gates


def _activated(node: Node) -> Node:
    users = list(node.users)
    fused = len(users) == 1 and users[0].target in (aten.relu.default, aten.relu_.default)
    return users[0] if fused else node


def _measure(graph: GraphModule, links: Sequence[Link], images: Sequence[Tensor]) -> dict[str, Tensor]:
    """Return the largest magnitude (channels,) at each link over all images, outliers left out."""
    largest: dict[str, Tensor] = {}

    def keep(name: str, value: Tensor) -> None:
        magnitudes = value.abs().transpose(0, 1).flatten(1)
        rank = max(1, round(QUANTILE * magnitudes.shape[1]))
        found = magnitudes.kthvalue(rank, dim=1).values
        largest[name] = torch.maximum(largest.get(name, found), found)

    observer = NodeObserver(graph, {link.output: partial(keep, link.maker) for link in links})
    for batch in images:
        observer.run(batch)
    return largest


def _apply(net: nn.Module, link: Link, *, held: Tensor, balance: float) -> Equalized:
    readers = [convolution_at(net, path) for path in link.readers]
    held = held.clamp_min(held.max().clamp_min(LEAST) / LARGEST_FACTOR)
    if all(_depthwise(reader) for reader in readers):
        factors = held
    else:
        read = torch.stack([_relative(reader) for reader in readers if not _depthwise(reader)]).amax(0)
        factors = held**balance / read.clamp_min(LEAST) ** (1 - balance)
    factors = (factors / factors.log().mean().exp()).clamp(1 / LARGEST_FACTOR, LARGEST_FACTOR)
    _divide(net, link.maker, factors)
    for reader in readers:
        shape = (-1, 1, 1, 1) if _depthwise(reader) else (1, -1, 1, 1)
        reader.weight.mul_(factors.view(shape))
    return Equalized(link=link.name, spread_before=_spread(held), spread_after=_spread(held / factors))


def _relative(convolution: nn.Conv2d) -> Tensor:
    """Return the largest weight (input channels,) on each input, as a share of its output's largest."""
    weight = convolution.weight.abs().amax((2, 3))
    return (weight / weight.amax(1, keepdim=True).clamp_min(LEAST)).amax(0)


def _divide(net: nn.Module, path: str, factors: Tensor) -> None:
    """Divide the output of a convolution, after the batch norm that follows it in its Sequential."""
    norm, convolution = norm_behind(net, path), convolution_at(net, path)
    if norm is not None:
        norm.weight.div_(factors)
        norm.bias.div_(factors)
        return
    convolution.weight.div_(factors.view(-1, 1, 1, 1))
    if convolution.bias is not None:
        convolution.bias.div_(factors)


def norm_behind(net: nn.Module, path: str) -> nn.BatchNorm2d | None:
    """Return the batch norm that follows a convolution in its Sequential."""
    parent, _, index = path.rpartition(".")
    block = net.get_submodule(parent)
    names = [name for name, _ in block.named_children()] if isinstance(block, nn.Sequential) else []
    following = dict(itertools.pairwise(names)).get(index)
    found = None if following is None else block.get_submodule(following)
    return found if isinstance(found, nn.BatchNorm2d) else None


def _depthwise(convolution: nn.Conv2d) -> bool:
    return convolution.groups > 1


def convolution_at(net: nn.Module, path: str) -> nn.Conv2d:
    """Return the convolution at a path of the plain net."""
    found = net.get_submodule(path)
    assert isinstance(found, nn.Conv2d)
    return found


def _spread(held: Tensor) -> float:
    return float(held.max() / held.median())


def _check_same(before: Tensor, after: Tensor) -> None:
    change = float((before - after).abs().max() / before.abs().max().clamp_min(LEAST))
    if not change <= TOLERANCE:
        raise InputError(
            f"Equalization changed the net's logits by {change:.1e} of the largest: a layer reads channels in a way "
            "that is not known here. Leave this stage out."
        )


def convolution_path(convolution: Node) -> str:
    """Return the path in the plain net of a float graph's convolution."""
    weight = convolution.args[1]
    assert isinstance(weight, Node)
    return str(weight.target).removeprefix(f"{INNER}.").removesuffix(".weight")


def _weight(convolution: Node) -> Tensor:
    weight = convolution.args[1]
    assert isinstance(weight, Node)
    found = attrgetter(str(weight.target))(convolution.graph.owning_module)
    assert isinstance(found, Tensor)
    return found


def _arguments(convolution: Node) -> dict[str, object]:
    schema = aten.conv2d.default._schema.arguments
    given = dict(zip((item.name for item in schema), convolution.args, strict=False))
    return {item.name: item.default_value for item in schema} | given | dict(convolution.kwargs)
