"""Folds squeeze-and-excite gates that hardly vary between images into the following weights.

A gate scales each channel by a factor computed from the mean of the whole feature map (Hu et al.,
"Squeeze-and-Excitation Networks", CVPR 2018). If the factors are nearly equal for all images of a data set, they are
constants: the following convolution absorbs them, and the mean, its two layers and the product over the whole map are
removed. These have few multiply-accumulates but take time on every engine, as several small int8 kernels.

Gates are found by their structure in the float graph (`graph.gates`), independent of the module's code.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from edgeseg.errors import InputError
from edgeseg.graph.float_graph import float_graph
from edgeseg.graph.gates import Gate, find_gates
from edgeseg.graph.node_values import NodeObserver
from edgeseg.graph.quantization_points import is_below
from edgeseg.models.surgery import bypass

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch.fx import GraphModule

    from edgeseg.core.spec import ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class GateLoss:
    """One gate, by its module's path: the share of cells that keep their label if this gate is constant.

    `alone` is with only this gate constant, `together` with all gates folded before it.
    """

    gate: str
    alone: float
    together: float
    folded: bool


def fold_gates(
    net: nn.Module, images: Sequence[Tensor], *, spec: ModelSpec, agreement: float = 0.99, keep: tuple[str, ...] = ()
) -> tuple[ModelSpec, tuple[GateLoss, ...]]:
    """Fold the gates of `net`, in place, whose mean over `images` can replace them; return its spec and all gates.

    `images` are normalised (N, 3, H, W). Gates are tried one by one, starting with the one that changes the fewest
    labels. A gate is folded if at least `agreement` (0 to 1) of the cells of all images then keep their label. Gates in
    the modules `keep` are not folded.

    Raises:
        InputError: no image, a net without such gates, or no gate that can be folded.
    """
    if not images:
        raise InputError("Folding gates measures them on images, and none was given.")
    net.eval()
    graph = float_graph(net, size=spec.size)
    gates = _foldable(graph, keep=keep)
    readers = {name: net.get_submodule(gate.reader) for name, gate in gates.items()}
    with torch.no_grad():
        means = _means(graph, gates, images)
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
                f"No gate can be folded: with {losses[0].gate} constant {100 * losses[0].together:.2f} % of the labels "
                f"stay the same; required: {100 * agreement:g} %. Lower agreement, or remove this stage."
            )
        for name, gate in gone.items():
            weight = readers[name].weight
            assert isinstance(weight, nn.Parameter)
            weight.mul_(gate.view(1, -1, 1, 1))
            bypass(net, name)
    kept = tuple(layer for layer in spec.channels if not is_below(layer.name, tuple(gone)))
    return replace(spec, channels=kept, bypassed=(*spec.bypassed, *gone)), tuple(losses)


def check_gates(net: nn.Module, *, size: tuple[int, int], keep: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return the paths of the gates that can be folded, for images of `size`, except those in the modules `keep`.

    Raises:
        InputError: there are none; gives the reasons for gates that cannot be folded.
    """
    return tuple(_foldable(float_graph(net, size=size), keep=keep))


def _foldable(graph: GraphModule, *, keep: tuple[str, ...]) -> dict[str, Gate]:
    """Return the gates of a float graph by module path; raises as `check_gates` does."""
    found, unfit = find_gates(graph)
    chosen = {gate.module: gate for gate in found if not is_below(gate.module, keep)}
    if not chosen:
        reasons = "".join(f" {item}." for item in unfit[:3])
        raise InputError(
            f"This net has no squeeze-and-excite gate followed by a convolution.{reasons} Remove this stage."
        )
    return chosen


def _means(graph: GraphModule, gates: dict[str, Gate], images: Sequence[Tensor]) -> dict[str, Tensor]:
    """Return the mean factors (channels,) of each gate over the images."""
    seen: dict[str, list[Tensor]] = {name: [] for name in gates}
    observer = NodeObserver(graph, {gate.factors: seen[name].append for name, gate in gates.items()})
    for batch in images:
        observer.run(batch)
    return {name: torch.cat([factors.flatten(1) for factors in seen[name]]).mean(0) for name in gates}


@contextlib.contextmanager
def _constant(net: nn.Module, gates: dict[str, Tensor]) -> Iterator[None]:
    """Replace the named modules by a multiplication with these factors while the block runs."""
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
