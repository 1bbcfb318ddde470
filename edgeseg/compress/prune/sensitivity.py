"""Pruning sensitivity: the loss in accuracy when a single group of channels is pruned."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from edgeseg.compress.prune.channel_groups import ChannelGroup, Dependencies
from edgeseg.compress.prune.channel_selection import without
from edgeseg.compress.prune.importance import Importance, LossFunction, score_channels
from edgeseg.core.requirements import require_modules
from edgeseg.errors import InputError
from edgeseg.graph.layer_shapes import layer_shapes
from edgeseg.metrics.confusion import ConfusionMatrix
from edgeseg.train.evaluate import predict_labels

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgeseg.core.latency import LayerShape
    from edgeseg.core.progress import Progress
    from edgeseg.data import Sample
    from edgeseg.models import Checkpoint
    from edgeseg.train.samples import Batch

SHARES = (0.25, 0.5, 0.75)
NAMED_LINES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupLoss:
    """One group without `removed` of its channels.

    mIoU, label agreement with the unpruned net and the saved share of all MACs are fractions.
    """

    group: str
    channels: int
    removed: int
    miou: float
    agreement: float
    macs_saved: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SensitivityScan:
    """Every group at every share, in the net's order, on `images` images; `miou` is that of the unpruned net."""

    checkpoint: str
    weights_sha256: str
    importance: str
    images: int
    miou: float
    losses: tuple[GroupLoss, ...]


def scan_groups(
    checkpoint: Checkpoint,
    samples: Sequence[Sample],
    *,
    shares: Sequence[float] = SHARES,
    importance: Importance = "magnitude",
    batches: Sequence[Batch] = (),
    objective: LossFunction | None = None,
    on_progress: Progress | None = None,
) -> SensitivityScan:
    """Return mIoU and label agreement on `samples` (training images) with each group pruned alone, no fine-tuning.

    The least important channels are removed first. Setting the weights that read a channel to zero gives exactly the
    outputs of the narrower net.

    Raises:
        InputError: no image, or a share outside 0 to 1.
        MissingDependency: torch-pruning is not installed.
    """
    if not samples or not all(0 < share < 1 for share in shares):
        raise InputError(f"{len(samples)} images, shares {tuple(shares)}: give images, and shares between 0 and 1.")
    net, spec = copy.deepcopy(checkpoint.net).eval().requires_grad_(True), checkpoint.spec
    groups = Dependencies(net, size=spec.size).groups
    scores = score_channels(net, groups, importance=importance, size=spec.size, batches=batches, objective=objective)
    images = _Images(checkpoint, samples)
    shapes = layer_shapes(net, size=spec.size)
    losses = []
    for index, group in enumerate(groups):
        order = scores[group.name].argsort(stable=True).tolist()
        for share in shares:
            count = min(group.channels - 1, round(group.channels * share))
            labels = images.labels(_silenced(net, group, order[:count]))
            losses.append(
                GroupLoss(
                    group=group.name,
                    channels=group.channels,
                    removed=count,
                    miou=images.miou(labels),
                    agreement=images.agreement(labels),
                    macs_saved=_saved(shapes, group, count=count),
                )
            )
        if on_progress is not None:
            on_progress("groups", index + 1, len(groups))
    return SensitivityScan(
        checkpoint=spec.name,
        weights_sha256=spec.weights_sha256,
        importance=importance,
        images=len(samples),
        miou=images.miou(images.whole),
        losses=tuple(losses),
    )


def plot_groups(scan: SensitivityScan, path: Path) -> None:
    """Write a plot of the scan: lost mIoU over the removed share, one line per group; the steepest are named.

    Raises:
        MissingDependency: matplotlib is not installed.
    """
    require_modules(("matplotlib",), what="Plotting", extra="compress")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.subplots()
    lines: dict[str, list[GroupLoss]] = {}
    for item in scan.losses:
        lines.setdefault(item.group, []).append(item)
    steep = sorted(lines, key=lambda name: min(item.miou for item in lines[name]))[:NAMED_LINES]
    for name, items in lines.items():
        removed = [0.0, *(100 * item.removed / item.channels for item in items)]
        lost = [0.0, *(100 * (scan.miou - item.miou) for item in items)]
        axes.plot(removed, lost, label=name if name in steep else None, color=None if name in steep else "0.8")
    axes.set(xlabel="channels removed (%)", ylabel=f"mIoU lost (points, {scan.images} images)", title=scan.checkpoint)
    axes.legend(fontsize="small")
    figure.savefig(path)


class _Images:
    """The images of a scan, with the unpruned net's labels."""

    def __init__(self, checkpoint: Checkpoint, samples: Sequence[Sample]) -> None:
        self._spec, self._samples = checkpoint.spec, samples
        self.whole = self.labels(checkpoint.net)

    def labels(self, net: nn.Module) -> list[np.ndarray]:
        return [predict_labels(net, sample.image, spec=self._spec) for sample in self._samples]

    def agreement(self, labels: Sequence[np.ndarray]) -> float:
        return float(np.mean([np.mean(mine == whole) for mine, whole in zip(labels, self.whole, strict=True)]))

    def miou(self, labels: Sequence[np.ndarray]) -> float:
        confusion = ConfusionMatrix(len(self._spec.classes), ignore_index=self._spec.ignore_index)
        for mine, sample in zip(labels, self._samples, strict=True):
            confusion.update(mine, sample.labels)
        return confusion.miou()


def _silenced(net: nn.Module, group: ChannelGroup, channels: Sequence[int]) -> nn.Module:
    """Return a copy of net in which nothing reads the given channels of a group."""
    silent, gone = copy.deepcopy(net), set(channels)
    with torch.no_grad():
        for member in group.members:
            if member.side == "in":
                own = [at for at, channel in zip(member.indices, member.channels, strict=True) if channel in gone]
                layer = silent.get_submodule(member.layer)
                assert isinstance(layer.weight, nn.Parameter)
                if isinstance(layer, nn.ConvTranspose2d):  # (inputs, outputs, ...)
                    layer.weight[own] = 0.0
                else:
                    layer.weight[:, own] = 0.0
    return silent


def _saved(shapes: dict[str, LayerShape], group: ChannelGroup, *, count: int) -> float:
    after = without(shapes, group, count=count, only=True)
    return sum(shapes[name].macs - shape.macs for name, shape in after.items()) / sum(s.macs for s in shapes.values())
