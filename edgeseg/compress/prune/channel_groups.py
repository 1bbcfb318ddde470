"""Which channels stand or fall together: the groups of torch-pruning's dependency graph, as plain data.

Fang et al.: DepGraph: Towards Any Structural Pruning, CVPR 2023.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

from edgeseg.core.requirements import require_modules
from edgeseg.graph.quantization_points import is_below

if TYPE_CHECKING:
    from torch_pruning import DependencyGraph

Side = Literal["out", "in", "both"]
"""What a layer loses with a channel: an output, an input, or (depthwise convolutions, batch norms) both at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A layer's share in a group: `indices[i]` is the place in the layer of the group's channel `channels[i]`."""

    layer: str
    side: Side
    indices: tuple[int, ...]
    channels: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelGroup:
    """Channels that several layers share; `name` is the layer that makes them first."""

    name: str
    channels: int
    members: tuple[Member, ...]

    def per_channel(self, member: Member) -> int:
        """Return how many of the layer's own channels go with one of the group's."""
        return len(member.indices) // self.channels


class Dependencies:
    """A net's channel groups, and the cut that keeps every layer of a group in step. The net is changed by `cut`."""

    def __init__(self, net: nn.Module, *, size: tuple[int, int], keep: tuple[str, ...] = ()) -> None:
        require_modules(("torch_pruning",), what="Structured pruning", extra="compress")
        self._net, self._size = net, size
        self._keep = {name for name, _ in net.named_modules() if is_below(name, keep)}
        self._graph = self._trace()
        self.groups = self._find()

    def _trace(self) -> DependencyGraph:
        from torch_pruning import DependencyGraph

        # The graph follows autograd's, so the net must be traced with gradients on.
        with torch.enable_grad():
            return DependencyGraph().build_dependency(self._net.eval(), example_inputs=torch.zeros(1, 3, *self._size))

    def _find(self) -> tuple[ChannelGroup, ...]:
        names = {module: name for name, module in self._net.named_modules()}
        ignored = [self._net.get_submodule(name) for name in sorted(self._keep | self._classifiers())]
        found = []
        for group in self._graph.get_all_groups(ignored_layers=ignored, root_module_types=[nn.Conv2d, nn.Linear]):
            members = tuple(
                Member(
                    layer=names[item.dep.target.module],
                    side=_side(item.dep.target.module, is_out=self._graph.is_out_channel_pruning_fn(item.dep.handler)),
                    indices=tuple(item.idxs),
                    channels=tuple(item.root_idxs),
                )
                for item in group
                if isinstance(item.dep.target.module, (nn.Conv2d, nn.Linear, nn.BatchNorm2d))
            )
            found.append(ChannelGroup(name=members[0].layer, channels=len(group[0].idxs), members=members))
        return tuple(found)

    def _classifiers(self) -> set[str]:
        """Return the layers whose outputs are the net's: what no later convolution reads."""
        graph, ends = self._graph, set()
        for name, module in self._net.named_modules():
            if not isinstance(module, (nn.Conv2d, nn.Linear)) or module not in graph.module2node:
                continue
            pruner = graph.get_pruner_of_module(module)
            group = graph.get_pruning_group(module, pruner.prune_out_channels, [0])
            read = any(
                graph.is_in_channel_pruning_fn(item.dep.handler)
                and isinstance(item.dep.target.module, (nn.Conv2d, nn.Linear))
                and not _is_depthwise(item.dep.target.module)
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


def _is_depthwise(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d) and layer.groups > 1 and layer.groups == layer.out_channels == layer.in_channels


def _side(layer: nn.Module, *, is_out: bool) -> Side:
    if isinstance(layer, nn.BatchNorm2d) or _is_depthwise(layer):
        return "both"
    return "out" if is_out else "in"
