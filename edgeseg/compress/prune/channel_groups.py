"""Channels that must be removed together: the groups of torch-pruning's dependency graph, as plain data.

Fang et al.: DepGraph: Towards Any Structural Pruning, CVPR 2023.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

from edgeseg.core.requirements import require_modules
from edgeseg.graph.quantization_points import is_below
from edgeseg.models.layer_kinds import CHANNEL_LAYERS, WEIGHTED_LAYERS, is_depthwise
from edgeseg.models.net_output import all_outputs

if TYPE_CHECKING:
    from torch_pruning import DependencyGraph

_HEADS = ("num_heads", "heads", "n_heads", "num_attention_heads")
"""Attribute names for the number of heads of attention modules."""
Side = Literal["out", "in", "both"]
"""The side of a layer that a channel belongs to: output, input, or both (depthwise convolutions, norms)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A layer's part in a group: `indices[i]` is the layer's own index of the group's channel `channels[i]`."""

    layer: str
    side: Side
    indices: tuple[int, ...]
    channels: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelGroup:
    """Channels that several layers share; `name` is the first layer that produces them.

    The channels consist of `parts` consecutive runs that must stay equally long: those of a group norm.
    """

    name: str
    channels: int
    members: tuple[Member, ...]
    parts: int = 1

    def per_channel(self, member: Member) -> int:
        """Return how many of the layer's own channels belong to one channel of the group."""
        return len(member.indices) // self.channels


class Dependencies:
    """A net's channel groups; `cut` removes channels from all layers of a group, in place."""

    def __init__(self, net: nn.Module, *, size: tuple[int, int], keep: tuple[str, ...] = ()) -> None:
        require_modules(("torch_pruning",), what="Structured pruning", extra="compress")
        self._net, self._size = net, size
        self._keep = {name for name, _ in net.named_modules() if is_below(name, keep)}
        self._graph = self._trace()
        self.groups = self._find()

    def _trace(self) -> DependencyGraph:
        from torch_pruning import DependencyGraph

        # The graph is built from autograd's, so the net must be traced with gradients enabled.
        with torch.enable_grad():
            return DependencyGraph().build_dependency(
                self._net.eval(), example_inputs=torch.zeros(1, 3, *self._size), forward_fn=all_outputs
            )

    def _find(self) -> tuple[ChannelGroup, ...]:
        names = {module: name for name, module in self._net.named_modules()}
        ignored = [self._net.get_submodule(name) for name in sorted(self._keep | self._whole() | self._classifiers())]
        found = []
        for group in self._graph.get_all_groups(ignored_layers=ignored, root_module_types=list(WEIGHTED_LAYERS)):
            members = tuple(
                Member(
                    layer=names[item.dep.target.module],
                    side=_side(item.dep.target.module, is_out=self._graph.is_out_channel_pruning_fn(item.dep.handler)),
                    indices=tuple(item.idxs),
                    channels=tuple(item.root_idxs),
                )
                for item in group
                if isinstance(item.dep.target.module, CHANNEL_LAYERS)
            )
            bare = any(isinstance(item.dep.target.module, nn.Parameter) for item in group)
            channels = len(group[0].idxs)
            parts = self._parts(members, channels=channels)
            if parts and not bare:  # a checkpoint describes the widths of layers, not of parameters outside of any
                found.append(ChannelGroup(name=members[0].layer, channels=channels, members=members, parts=parts))
        return tuple(found)

    def _whole(self) -> set[str]:
        """Return the layers whose outputs cannot be pruned.

        These are layers of attention (modules with a number of heads), which are split into heads of equal size, and
        grouped convolutions that are not depthwise.
        """
        heads = [
            name for name, module in self._net.named_modules()
            if any(isinstance(getattr(module, word, None), int) for word in _HEADS)
        ]  # fmt: skip
        return {
            name
            for name, module in self._net.named_modules()
            if isinstance(module, WEIGHTED_LAYERS)
            and (is_below(name, tuple(heads)) or (getattr(module, "groups", 1) > 1 and not is_depthwise(module)))
        }

    def _parts(self, members: tuple[Member, ...], *, channels: int) -> int:
        """Return the number of runs of a group's channels that group norms need; 0 if they cannot be preserved."""
        norms = [(item, self._net.get_submodule(item.layer)) for item in members]
        found = [(item, layer.num_groups) for item, layer in norms if isinstance(layer, nn.GroupNorm)]
        aligned = all(item.indices == item.channels == tuple(range(channels)) for item, _ in found)
        parts = math.lcm(*(count for _, count in found))
        return parts if (aligned and channels % parts == 0) or parts == 1 else 0

    def _classifiers(self) -> set[str]:
        """Return the layers that produce the net's outputs, which no later convolution reads."""
        graph, ends = self._graph, set()
        for name, module in self._net.named_modules():
            if not isinstance(module, WEIGHTED_LAYERS) or module not in graph.module2node:
                continue
            pruner = graph.get_pruner_of_module(module)
            group = graph.get_pruning_group(module, pruner.prune_out_channels, [0])
            read = any(
                graph.is_in_channel_pruning_fn(item.dep.handler)
                and isinstance(item.dep.target.module, WEIGHTED_LAYERS)
                and not is_depthwise(item.dep.target.module)
                for item in group
            )
            if not read:
                ends.add(name)
        return ends

    def cut(self, removed: dict[str, tuple[int, ...]]) -> None:
        """Remove the channels `removed[group]` of each group from all its layers, in place."""
        for group in self.groups:
            indices = removed.get(group.name, ())
            if not indices:
                continue
            root = self._net.get_submodule(group.name)
            pruner = self._graph.get_pruner_of_module(root)
            self._graph.get_pruning_group(root, pruner.prune_out_channels, list(indices)).prune()
        self._net.zero_grad(set_to_none=True)


def _side(layer: nn.Module, *, is_out: bool) -> Side:
    if not isinstance(layer, WEIGHTED_LAYERS) or is_depthwise(layer):
        return "both"
    return "out" if is_out else "in"
