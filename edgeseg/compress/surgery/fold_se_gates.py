"""Squeeze-and-excite gates that hardly change from image to image, taken up by the weights behind them.

A gate scales a channel by what the whole map holds (Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018). Where it
gives each image of a data set nearly the same, that is a constant: the convolution behind it takes the factor, and
the mean, the two layers on it and the product over the whole map are gone. They have few multiply-accumulates and cost
time on every engine: int8 kernels for them are small and many.
"""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from edgeseg.errors import InputError
from edgeseg.graph.quantization_points import is_below
from edgeseg.models.encoders.mobilenet_v3 import SqueezeExcite
from edgeseg.models.surgery import bypass

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edgeseg.core.spec import ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class GateLoss:
    """One gate, by its module's path: the share of cells that keep their label with it constant, `alone` and `together`
    with all that were folded before.
    """

    gate: str
    alone: float
    together: float
    folded: bool


def fold_gates(
    net: nn.Module, images: Sequence[Tensor], *, spec: ModelSpec, agreement: float = 0.99, keep: tuple[str, ...] = ()
) -> tuple[ModelSpec, tuple[GateLoss, ...]]:
    """Fold, in place, the gates of `net` whose mean over `images` can stand for them; return its spec and all gates.

    `images` are normalised ones (N, 3, H, W). Gates are tried one after another, the one that changes fewest labels
    first; one goes if at least `agreement` (0 to 1) of the cells of all images then keep the label of before. Those
    in the modules `keep` stay.

    Raises:
        InputError: no image, a net without such gates, or none that can go.
    """
    if not images:
        raise InputError("Folding gates looks at what they give on images, and none was given.")
    net.eval()
    readers = check_gates(net, keep=keep)
    with torch.no_grad():
        means = _means(net, tuple(readers), images)
        labels = _labels(net, images)
        alone = {name: _agreement(net, {name: means[name]}, images, labels) for name in readers}
        losses: list[GateLoss] = []
        gone: dict[str, Tensor] = {}
        for name in sorted(readers, key=lambda name: -alone[name]):
            trial = {**gone, name: means[name]}
            together = _agreement(net, trial, images, labels)
            losses.append(GateLoss(gate=name, alone=alone[name], together=together, folded=together >= agreement))
            gone = trial if losses[-1].folded else gone
        if not gone:
            raise InputError(
                f"No gate can go: with {losses[0].gate} constant {100 * losses[0].together:.2f} % of the labels stay, "
                f"and agreement is {100 * agreement:g} %. Lower it, or leave this stage out."
            )
        for name, gate in gone.items():
            readers[name].weight.mul_(gate.view(1, -1, 1, 1))
            bypass(net, name)
    kept = tuple(layer for layer in spec.channels if not is_below(layer.name, tuple(gone)))
    return replace(spec, channels=kept, bypassed=(*spec.bypassed, *gone)), tuple(losses)


def check_gates(net: nn.Module, *, keep: tuple[str, ...] = ()) -> dict[str, nn.Conv2d]:
    """Return the convolution behind each gate, by the gate's path: the next in the same sequence, over all channels.

    Gates in the modules `keep` are left out.

    Raises:
        InputError: there is none.
    """
    found = {}
    for path, parent in net.named_modules():
        children = list(parent.named_children()) if isinstance(parent, nn.Sequential) else []
        for (name, module), (_, behind) in itertools.pairwise(children):
            first = behind[0] if isinstance(behind, nn.Sequential) else behind
            if isinstance(module, SqueezeExcite) and isinstance(first, nn.Conv2d) and first.groups == 1:
                found[f"{path}.{name}" if path else name] = first
    found = {name: reader for name, reader in found.items() if not is_below(name, keep)}
    if not found:
        raise InputError("This net has no squeeze-and-excite gate with a convolution behind it. Leave this stage out.")
    return found


def _means(net: nn.Module, names: Sequence[str], images: Sequence[Tensor]) -> dict[str, Tensor]:
    """Return each gate's mean (channels,) over the images."""
    given: dict[str, list[Tensor]] = {name: [] for name in names}
    with contextlib.ExitStack() as stack:
        for name in names:
            gate = net.get_submodule(f"{name}.gate")
            hook = gate.register_forward_hook(lambda _module, _inputs, output, name=name: given[name].append(output))
            stack.callback(hook.remove)
        for batch in images:
            net(batch)
    return {name: torch.cat(found).mean((0, 2, 3)) for name, found in given.items()}


@contextlib.contextmanager
def _constant(net: nn.Module, gates: dict[str, Tensor]) -> Iterator[None]:
    """Have the named modules scale what they are given by these factors for as long as the block runs."""
    with contextlib.ExitStack() as stack:
        for name, gate in gates.items():
            module, factors = net.get_submodule(name), gate.view(1, -1, 1, 1)
            hook = module.register_forward_hook(lambda _module, inputs, _output, by=factors: inputs[0] * by)
            stack.callback(hook.remove)
        yield


def _labels(net: nn.Module, images: Sequence[Tensor]) -> list[Tensor]:
    return [net(batch).argmax(1) for batch in images]


def _agreement(net: nn.Module, gates: dict[str, Tensor], images: Sequence[Tensor], labels: list[Tensor]) -> float:
    """Return the share of cells that keep their label with these gates constant."""
    with _constant(net, gates):
        found = _labels(net, images)
    equal = sum(int((now == before).sum()) for now, before in zip(found, labels, strict=True))
    return equal / sum(before.numel() for before in labels)
