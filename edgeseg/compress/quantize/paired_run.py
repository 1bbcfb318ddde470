"""Runs a fake-quantized graph in float and in int8 in step, so that layers can be corrected one after another."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.fx import GraphModule, Interpreter, Node
from torch.fx.node import map_aggregate

from edgeseg.compress.quantize.fake_quant import FakeActivation, FakeWeight
from edgeseg.graph.channel_axis import tensor_reads

if TYPE_CHECKING:
    from collections.abc import Callable

MEMORY_BYTES = 2 * 2**30
"""Most memory that the feature maps of both runs may take: beyond it, fewer images are used."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A value of the float net and the int8 net's value at the same place."""

    exact: object
    rounded: object


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedLayer:
    """A convolution or linear layer during a paired run.

    `exact` is the float net's output, `inputs` and `rounded` are the int8 net's input and output, before the output is
    rounded. `weight` is the float weight, `offset` the bias (None without one), `fake` rounds the weight. `own` says
    whether weight and bias are this layer's alone, so that they may be changed. `call` returns the int8 net's output
    for another weight.
    """

    node: Node
    exact: Tensor
    inputs: Tensor
    rounded: Tensor
    weight: Tensor
    offset: Tensor | None
    fake: FakeWeight
    own: bool
    call: Callable[[Tensor], Tensor]

    @property
    def path(self) -> str:
        """The layer's path in the graph."""
        weight = self.node.args[1]
        assert isinstance(weight, Node)
        return str(weight.args[0].target).removesuffix(".weight")  # type: ignore[union-attr]

    @property
    def channels(self) -> tuple[int, ...]:
        """The shape that lines a vector (output channels,) up with the output."""
        return (-1,) if self.node.target is torch.ops.aten.linear.default else (1, -1, 1, 1)

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean of each output channel, (output channels,)."""
        axis = values.ndim - 1 if self.channels == (-1,) else 1
        return values.mean([index for index in range(values.ndim) if index != axis])


class PairedRun(Interpreter):
    """Runs a fake-quantized graph (`QuantNet.graph`) on images, each value as a `Pair`.

    A subclass may change a layer when it is reached: everything before it has been changed already, as in sequential
    post-training methods, and one pass over the net serves all layers.
    """

    def __init__(self, graph: GraphModule) -> None:
        super().__init__(graph)
        self._reads = tensor_reads(graph)

    def at_layer(self, layer: PairedLayer) -> Tensor:
        """Return the int8 net's output of a layer, after changing the layer if need be."""
        return layer.rounded

    @torch.no_grad()
    def run_on(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of the float net and of the int8 net for images (N, 3, H, W)."""
        (logits,) = self.run(images)
        assert isinstance(logits, Pair)
        assert isinstance(logits.exact, Tensor)
        assert isinstance(logits.rounded, Tensor)
        return logits.exact, logits.rounded

    def run_node(self, n: Node) -> object:
        """Return the node's pair of values."""
        if n.op == "output":
            return super().run_node(n)
        if n.op in ("placeholder", "get_attr"):
            value = super().run_node(n)
            return Pair(exact=value, rounded=value)
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        found = self.fetch_attr(str(n.target)) if n.op == "call_module" else None
        if isinstance(found, (FakeActivation, FakeWeight)):
            (value,) = args
            return Pair(exact=value.exact, rounded=found(value.rounded))
        call = getattr(self, n.op)
        exact = call(n.target, _side(args, "exact"), _side(kwargs, "exact"))
        rounded = call(n.target, _side(args, "rounded"), _side(kwargs, "rounded"))
        fake = self._fake(n)
        if fake is None:
            return Pair(exact=exact, rounded=rounded)
        first, _, *others = _side(args, "rounded")
        layer = PairedLayer(
            node=n,
            exact=exact,
            inputs=first,
            rounded=rounded,
            weight=args[1].exact,
            offset=others[0] if others else None,
            fake=fake,
            own=self._is_own(n),
            call=lambda weight: call(n.target, (first, weight, *others), _side(kwargs, "rounded")),
        )
        return Pair(exact=exact, rounded=self.at_layer(layer))

    def _fake(self, n: Node) -> FakeWeight | None:
        weight = n.args[1] if n.op == "call_function" and len(n.args) > 1 else None
        if not isinstance(weight, Node) or weight.op != "call_module":
            return None
        found = self.fetch_attr(str(weight.target))
        return found if isinstance(found, FakeWeight) else None

    def _is_own(self, n: Node) -> bool:
        """Return whether no other node reads a layer's stored weight and bias."""
        weight = n.args[1]
        assert isinstance(weight, Node)
        stored = [weight.args[0], *n.args[2:3]]
        return all(
            item.op == "get_attr" and self._reads[str(item.target)] == 1 for item in stored if isinstance(item, Node)
        )


def fitting_images(graph: GraphModule, images: Tensor) -> Tensor:
    """Return as many of the images (N, 3, H, W) as both runs can hold in `MEMORY_BYTES`, at least one."""
    each = 2 * peak_bytes(graph)
    count = max(1, min(len(images), MEMORY_BYTES // max(1, each)))
    if count < len(images):
        _log.info("%d of %d images are used: one takes %.0f MB.", count, len(images), each / 1e6)
    return images[:count]


def peak_bytes(graph: GraphModule) -> int:
    """Return the memory, in bytes for one image in float32, of the feature maps that are needed at the same time."""
    last = {source: node for node in graph.graph.nodes for source in node.all_input_nodes}
    ending: dict[Node, list[Node]] = {}
    for source, node in last.items():
        ending.setdefault(node, []).append(source)
    held = peak = 0
    for node in graph.graph.nodes:
        held += _bytes(node)
        peak = max(peak, held)
        held -= sum(map(_bytes, ending.get(node, ())))
    return peak


def _bytes(node: Node) -> int:
    value = node.meta.get("val")
    if node.op not in ("call_function", "call_module", "placeholder") or not isinstance(value, Tensor):
        return 0
    return 4 * int(torch.Size(int(size) if isinstance(size, int) else 1 for size in value.shape).numel())


def _side(given: Any, side: str) -> Any:
    """Return arguments with one value of each pair."""
    return map_aggregate(given, lambda item: getattr(item, side) if isinstance(item, Pair) else item)
