"""Channel importance: one score per channel of each group; higher is more important."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor, nn

from edgeseg.core.suggestions import unknown
from edgeseg.errors import InputError
from edgeseg.graph.norms import BatchNorm, find_norms, norm_at
from edgeseg.models.layer_kinds import WEIGHTED_LAYERS

if TYPE_CHECKING:
    from edgeseg.compress.prune.channel_groups import ChannelGroup, Member
    from edgeseg.train.samples import Batch

Importance = Literal["magnitude", "taylor", "bn-scale"]
IMPORTANCES: tuple[Importance, ...] = ("magnitude", "taylor", "bn-scale")
LossFunction = Callable[[Sequence[Tensor], Tensor], Tensor]
"""The training loss of (logits,) against labels, a scalar; `edgeseg.train.objective.Objective` is one."""


def score_channels(
    net: nn.Module,
    groups: Sequence[ChannelGroup],
    *,
    importance: Importance,
    size: tuple[int, int],
    batches: Sequence[Batch] = (),
    objective: LossFunction | None = None,
) -> dict[str, Tensor]:
    """Return the scores (channels,) float64 of each group by name, for a net that reads images of `size`.

    Only "taylor" needs batches and the objective.

    Raises:
        UnknownName: no such importance.
        InputError: "taylor" without batches or objective.
    """
    if importance == "magnitude":
        return _magnitudes(net, groups, gains=norm_gains(net, size=size))
    if importance == "bn-scale":
        return _norm_scales(net, groups, gains=norm_gains(net, size=size))
    if importance != "taylor":
        raise unknown("importance", importance, IMPORTANCES)
    if not batches or objective is None:
        raise InputError("Taylor importance needs training batches and the recipe's loss. Give both, or use magnitude.")
    return _taylor(net, groups, batches=batches, objective=objective)


def norm_gains(net: nn.Module, *, size: tuple[int, int]) -> dict[str, Tensor]:
    """Return the factor (outputs,) by which batch norm scales each output of the preceding layer, by layer path."""
    found = {}
    for layer, path in find_norms(net, size=size).behind.items():
        norm = norm_at(net, path)
        assert norm.running_var is not None
        scale = (norm.running_var + norm.eps).sqrt()
        found[layer] = (torch.ones_like(scale) if norm.weight is None else norm.weight.detach()) / scale
    return found


def _magnitudes(net: nn.Module, groups: Sequence[ChannelGroup], *, gains: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the L2 norm of all weights of a channel, each layer's part relative to the layer's mean.

    Li et al., Pruning Filters for Efficient ConvNets, ICLR 2017, with the groups of Fang et al., CVPR 2023 (equation
    4). Weights that produce a channel are taken after folding batch norm, since a filter before a batch norm has no
    scale of its own.
    """
    found = {}
    for group in groups:
        total = torch.zeros(group.channels, dtype=torch.float64)
        for member in group.members:
            layer = net.get_submodule(member.layer)
            if not isinstance(layer, WEIGHTED_LAYERS):
                continue
            own = _energy(layer, side=member.side, gain=gains.get(member.layer))
            total += _to_group(own / own.mean().clamp_min(1e-30), member, channels=group.channels)
        found[group.name] = total.sqrt()
    return found


def _energy(layer: nn.Module, *, side: str, gain: Tensor | None) -> Tensor:
    """Return the squared norm of the weights of each output, or of each input for side "in"."""
    assert isinstance(layer, WEIGHTED_LAYERS)
    weight = _by_outputs(layer, layer.weight.detach().double())
    if gain is not None:
        weight = weight * gain.double().view(-1, *[1] * (weight.dim() - 1))
    return weight.square().transpose(0, 1).flatten(1).sum(1) if side == "in" else weight.square().flatten(1).sum(1)


def _by_outputs(layer: nn.Module, weight: Tensor) -> Tensor:
    """Return a layer's weight with the outputs on the first axis, where a transposed convolution has the inputs."""
    return weight.transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d) and layer.groups == 1 else weight


def _norm_scales(net: nn.Module, groups: Sequence[ChannelGroup], *, gains: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the mean of |gamma| over a channel's batch norms, each relative to the norm's own mean.

    Liu et al., Learning Efficient Convolutional Networks through Network Slimming, ICCV 2017; without its sparsity
    term in training the scales separate channels less clearly. Groups without a batch norm (squeeze and excite) use
    the magnitude, relative to its mean.
    """
    instead = _magnitudes(net, groups, gains=gains)
    found = {}
    for group in groups:
        norms = [item for item in group.members if isinstance(net.get_submodule(item.layer), BatchNorm)]
        total = torch.zeros(group.channels, dtype=torch.float64)
        for member in norms:
            norm = norm_at(net, member.layer)
            scale = torch.ones(norm.num_features) if norm.weight is None else norm.weight.detach()
            scale = scale.double().abs()
            total += _to_group(scale / scale.mean().clamp_min(1e-30), member, channels=group.channels)
        fallback = instead[group.name]
        found[group.name] = total / len(norms) if norms else fallback / fallback.mean().clamp_min(1e-30)
    return found


def _taylor(
    net: nn.Module, groups: Sequence[ChannelGroup], *, batches: Sequence[Batch], objective: LossFunction
) -> dict[str, Tensor]:
    """Return the mean over images of the squared first-order change of the loss when a channel is removed.

    Molchanov et al., Importance Estimation for Neural Network Pruning, CVPR 2019, equation 8, with the gate where the
    channel is read: removing a channel is the same as setting the weights that read it to zero, so the change is the
    sum of weight times gradient over those weights of all its readers. Batch norm uses its running statistics, as in
    the pruned net.
    """
    found = {group.name: torch.zeros(group.channels, dtype=torch.float64) for group in groups}
    net.eval()
    images = [(x[index : index + 1], y[index : index + 1]) for x, y in batches for index in range(len(x))]
    for x, y in images:
        net.zero_grad(set_to_none=True)
        with torch.enable_grad():
            objective((net(x),), y).backward()
        for group in groups:
            found[group.name] += _change(net, group).square() / len(images)
    net.zero_grad(set_to_none=True)
    return found


def _change(net: nn.Module, group: ChannelGroup) -> Tensor:
    """Return the first-order change of the loss without each channel, (channels,), from the current gradients."""
    total = torch.zeros(group.channels, dtype=torch.float64)
    for member in group.members:
        if member.side != "in":
            continue
        layer = net.get_submodule(member.layer)
        weight = layer.weight
        assert isinstance(weight, nn.Parameter)
        if weight.grad is not None:
            product = _by_outputs(layer, (weight.detach() * weight.grad).double()).transpose(0, 1).flatten(1).sum(1)
            total += _to_group(product, member, channels=group.channels)
    return total


def _to_group(values: Tensor, member: Member, *, channels: int) -> Tensor:
    """Return a layer's values (its channels,) summed into the group's (channels,)."""
    total = torch.zeros(channels, dtype=values.dtype)
    return total.index_add(0, torch.tensor(member.channels), values[list(member.indices)].cpu())
