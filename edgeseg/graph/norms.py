"""Which batch norm follows which layer: the one answer for folding, importance, equalization and unfolding."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn
from torch.nn.modules import batchnorm

from edgeseg.graph.data_flow import Call, DataFlow, trace

_LAYERS = {"conv2d": nn.Conv2d, "conv_transpose2d": nn.ConvTranspose2d, "linear": nn.Linear}
"""Ops into whose weights a batch norm can be folded, and the modules that store those weights."""
NORM = "batch_norm"
BatchNorm = batchnorm._BatchNorm  # noqa: SLF001 - the common base of all of them has no public name
"""Batch norm of any number of dimensions, synchronised or not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptNorm:
    """A batch norm that cannot be folded, by its module's path, and the reason."""

    norm: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Norms:
    """The batch norms of a net: `behind[layer]` is the only reader of that layer's output, `kept` are all others."""

    behind: dict[str, str]
    kept: tuple[KeptNorm, ...]


def find_norms(net: nn.Module, *, size: tuple[int, int]) -> Norms:
    """Return which batch norm follows which convolution or linear layer for an image of `size` (height, width).

    What counts is the data flow of a forward pass in evaluation mode, not how the modules are stored: a norm belongs
    to the layer whose output it alone reads.
    """
    flow = trace(net, size=size)
    modules = dict(net.named_modules())
    behind, kept = {}, []
    for path, module in modules.items():
        if not isinstance(module, BatchNorm):
            continue
        layer, reason = _layer_before(path, flow=flow, modules=modules)
        if reason:
            kept.append(KeptNorm(norm=path, reason=reason))
        else:
            behind[layer] = path
    return Norms(behind=behind, kept=tuple(kept))


def norm_at(net: nn.Module, path: str) -> BatchNorm:
    """Return the batch norm at a path."""
    found = net.get_submodule(path)
    assert isinstance(found, BatchNorm)
    return found


def _layer_before(norm: str, *, flow: DataFlow, modules: dict[str, nn.Module]) -> tuple[str, str]:
    """Return (path of the layer that the norm belongs to, ""), or ("", the reason why there is none)."""
    calls = flow.of(norm)
    if getattr(modules[norm], "running_mean", None) is None:
        return "", "it has no running statistics"
    if not calls:
        return "", "it is not called in evaluation mode"
    if len(calls) > 1 or calls[0].op != NORM:
        return "", "it is called, or its parameters are read, more than once"
    (maker,) = calls[0].inputs or (None,)
    if maker is None:
        return "", "it reads the image"
    if reason := _why_not_foldable(maker, flow=flow, modules=modules):
        return "", reason
    return maker.layer, ""


def _why_not_foldable(maker: Call, *, flow: DataFlow, modules: dict[str, nn.Module]) -> str:
    """Return why the norm that reads the output of `maker` cannot be folded into it, "" if it can."""
    kind = _LAYERS.get(maker.op)
    if kind is None:
        return f"it follows {maker.op}, not a convolution or linear layer"
    layer = modules[maker.layer]  # "" is the net itself, which has no weights of its own
    if not isinstance(layer, kind) or "weight" not in dict(layer.named_parameters(recurse=False)):
        return f"it follows a {maker.op} whose weights are not stored parameters of a {kind.__name__}"
    if len(flow.of(maker.layer)) > 1:
        return f"{maker.layer} is called, or its parameters are read, more than once"
    if len(maker.readers) > 1 or maker.is_output:
        return f"the output of {maker.layer} is also read by something else"
    if maker.op == "linear" and len(maker.shape) != 2:
        return (
            f"the output of {maker.layer} has {len(maker.shape)} dimensions, and the norm's channels are not its last"
        )
    return ""
