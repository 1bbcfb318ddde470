"""Cross-layer equalization: makes channel ranges more similar, so that one int8 scale fits them all.

Between two convolutions with only positively homogeneous ops in between (f(s x) = s f(x) for s > 0: ReLU, means,
resizes, a gate's product), a channel can be divided by s where it is produced and multiplied by s where it is read,
without changing the net's output (Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias
Correction", ICCV 2019). The paper equalizes weight ranges; here activation ranges are measured on images, since
activations have one scale for all channels, while int8 weights have one per channel.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node

from edgeseg.errors import InputError
from edgeseg.graph.float_graph import float_graph, layer_path
from edgeseg.graph.node_values import NodeObserver
from edgeseg.graph.norms import Norms, find_norms, norm_at
from edgeseg.graph.quantization_points import aten

if TYPE_CHECKING:
    from collections.abc import Sequence

CONVOLUTION_OPS = (aten.conv2d.default, aten.conv2d.padding)
HOMOGENEOUS = (
    aten.relu.default,
    aten.mean.dim,
    aten.avg_pool2d.default,
    aten.max_pool2d.default,
    aten.upsample_bilinear2d.vec,
    aten.upsample_nearest2d.vec,
)
PRODUCT = aten.mul.Tensor
# Single outliers would dominate a whole channel; calibration clips them too.
QUANTILE = 0.9999
LEAST = 1e-6
LARGEST_SCALE_RATIO = 100.0
# Relative to the largest logit: the float32 rounding error of an equal net with another order of operations.
_TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A layer `maker` whose channels only the layers `readers` read, as paths in the net; `output` is its node."""

    maker: str
    readers: tuple[str, ...]
    output: Node

    @property
    def name(self) -> str:
        """The link's name in reports."""
        return f"{self.maker} -> {', '.join(self.readers)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Equalized:
    """One link, and the ratio of its largest to its median channel range, before and after."""

    link: str
    spread_before: float
    spread_after: float


def equalize(
    net: nn.Module, images: Sequence[Tensor], *, size: tuple[int, int], balance: float = 0.5
) -> tuple[Equalized, ...]:
    """Equalize `net` in place and return the result for each link, in graph order.

    Channel ranges are measured on `images`, normalised (N, 3, H, W) of `size` (height, width). A channel with range r,
    read with weights up to w (relative to the largest of each output), is divided by r^balance / w^(1 - balance) (Xiao
    et al., "SmoothQuant", ICML 2023, equation 4). It is divided by r if only depthwise convolutions read it: their
    weights have one scale per channel and lose nothing.

    Raises:
        InputError: no image, a net without links, or a net whose output changes by more than rounding.
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
        sizes = measure_links(graph, links, images, channel_axis=1)
        norms = find_norms(net, size=size)
        done = tuple(_apply(net, link, held=sizes[link.maker], balance=balance, norms=norms) for link in links)
        after = net(images[0][:1])
    check_same_logits(before, after, what="Equalization")
    return done


def find_links(graph: GraphModule) -> tuple[Link, ...]:
    """Return the links of a float graph with folded batch norms, in graph order."""
    found = []
    for node in graph.graph.nodes:
        if node.target not in CONVOLUTION_OPS:
            continue
        readers = _readers(node, seen=set())
        if readers:
            paths = tuple(layer_path(reader) for reader in readers)
            found.append(Link(maker=layer_path(node), readers=paths, output=_activated(node)))
    return tuple(found)


def _readers(node: Node, *, seen: set[Node]) -> list[Node] | None:
    """Return the convolutions that read `node` through homogeneous ops only; None if anything else reads it."""
    found: list[Node] = []
    for user in node.users:
        if user in seen:
            continue
        seen.add(user)
        if user.target in CONVOLUTION_OPS and user.args[0] is node and _takes_factors(user):
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
    """Return whether each input channel has weights of its own: no groups, or depthwise."""
    groups = call_arguments(convolution)["groups"]
    weight = _weight(convolution)
    return groups == 1 or (weight.shape[1] == 1 and weight.shape[0] == groups)


def _gated(product: Node, *, by: Node) -> bool:
    """Return whether the other factor of a product is a sigmoid gate.

    A gate is bounded and does not depend on the scale of `by`, since the convolution that computes it from `by`
    absorbs the factors.
    """
    other = [item for item in product.args[:2] if item is not by]
    gates = (aten.hardsigmoid.default, aten.sigmoid.default)
    return len(other) == 1 and isinstance(other[0], Node) and other[0].target in gates


def _activated(node: Node) -> Node:
    users = list(node.users)
    fused = len(users) == 1 and users[0].target is aten.relu.default
    return users[0] if fused else node


def measure_links(
    graph: GraphModule, links: Sequence[Link], images: Sequence[Tensor], *, channel_axis: int
) -> dict[str, Tensor]:
    """Return the largest magnitude (channels,) at each link over all images, without outliers, by its maker."""
    largest: dict[str, Tensor] = {}

    def keep(name: str, value: Tensor) -> None:
        found = largest_magnitudes(value.movedim(channel_axis, 0))
        largest[name] = torch.maximum(largest.get(name, found), found)

    observer = NodeObserver(graph, {link.output: partial(keep, link.maker) for link in links})
    for batch in images:
        observer.run(batch)
    return largest


def largest_magnitudes(channels: Tensor) -> Tensor:
    """Return the largest magnitude of each channel, (channels,), without outliers; the first axis is the channels."""
    magnitudes = channels.abs().flatten(1)
    rank = max(1, round(QUANTILE * magnitudes.shape[1]))
    found: Tensor = magnitudes.kthvalue(rank, dim=1).values
    return found


def _apply(net: nn.Module, link: Link, *, held: Tensor, balance: float, norms: Norms) -> Equalized:
    readers = [convolution_at(net, path) for path in link.readers]
    held = without_dead(held)
    factors = equalizing_factors(held, readers, balance=balance)
    _divide(net, link.maker, factors, norms=norms)
    for reader in readers:
        shape = (-1, 1, 1, 1) if _depthwise(reader) else (1, -1, 1, 1)
        reader.weight.mul_(factors.view(shape))
    return Equalized(link=link.name, spread_before=channel_spread(held), spread_after=channel_spread(held / factors))


def without_dead(held: Tensor) -> Tensor:
    """Return the ranges (channels,), none below a hundredth of the largest: a dead channel's would be scaled up."""
    return held.clamp_min(held.max().clamp_min(LEAST) / LARGEST_SCALE_RATIO)


def equalizing_factors(held: Tensor, readers: Sequence[nn.Conv2d | nn.Linear], *, balance: float) -> Tensor:
    """Return the factors (channels,), of geometric mean 1, that channels with these magnitudes are divided by.

    `readers` are the layers that read the channels; see `equalize`.
    """
    if all(_depthwise(reader) for reader in readers):
        factors = held
    else:
        read = torch.stack([_relative(reader) for reader in readers if not _depthwise(reader)]).amax(0)
        factors = held**balance / read.clamp_min(LEAST) ** (1 - balance)
    return (factors / factors.log().mean().exp()).clamp(1 / LARGEST_SCALE_RATIO, LARGEST_SCALE_RATIO)


def _relative(layer: nn.Conv2d | nn.Linear) -> Tensor:
    """Return the largest weight of each input (input channels,), as a share of its output's largest weight."""
    weight = layer.weight.abs().flatten(2).amax(2) if layer.weight.ndim > 2 else layer.weight.abs()
    return (weight / weight.amax(1, keepdim=True).clamp_min(LEAST)).amax(0)


def _divide(net: nn.Module, path: str, factors: Tensor, *, norms: Norms) -> None:
    """Divide the output of a convolution, after the batch norm that follows it."""
    if path in norms.behind:
        norm = norm_at(net, norms.behind[path])
        if norm.affine:
            norm.weight.div_(factors)
            norm.bias.div_(factors)
            return
        assert norm.running_mean is not None
        assert norm.running_var is not None
        # A norm without weights only divides by the deviation: scale that, and leave its mean.
        norm.running_var.copy_((norm.running_var + norm.eps) * factors.square() - norm.eps)
        return
    convolution = convolution_at(net, path)
    convolution.weight.div_(factors.view(-1, 1, 1, 1))
    if convolution.bias is not None:
        convolution.bias.div_(factors)


def _depthwise(layer: nn.Conv2d | nn.Linear) -> bool:
    return isinstance(layer, nn.Conv2d) and layer.groups > 1


def convolution_at(net: nn.Module, path: str) -> nn.Conv2d:
    """Return the convolution at a path of the plain net."""
    found = net.get_submodule(path)
    assert isinstance(found, nn.Conv2d)
    return found


def channel_spread(held: Tensor) -> float:
    """Return the ratio of the largest to the median channel range."""
    return float(held.max() / held.median())


def check_same_logits(before: Tensor, after: Tensor, *, what: str) -> None:
    """Raise `InputError` if logits changed by more than float32 rounding; `what` begins the message."""
    change = float((before - after).abs().max() / before.abs().max().clamp_min(LEAST))
    if not change <= _TOLERANCE:
        raise InputError(
            f"{what} changed the net's logits by {change:.1e} of the largest: a layer reads channels in a way that it "
            "does not know. Remove this stage."
        )


def _weight(convolution: Node) -> Tensor:
    weight = convolution.args[1]
    assert isinstance(weight, Node)
    found = attrgetter(str(weight.target))(convolution.graph.owning_module)
    assert isinstance(found, Tensor)
    return found


def call_arguments(convolution: Node) -> dict[str, object]:
    """Return the arguments of a call by name, defaults included."""
    schema = convolution.target._schema.arguments  # type: ignore[union-attr]  # noqa: SLF001 - torch has no other door
    given = dict(zip((item.name for item in schema), convolution.args, strict=False))
    return {item.name: item.default_value for item in schema} | given | dict(convolution.kwargs)
