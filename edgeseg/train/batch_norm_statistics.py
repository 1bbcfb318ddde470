"""Restores the statistics of batch norms that quantization-aware training left folded, before training or pruning."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from edgeseg.train.evaluate import normalise

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgeseg.core.spec import ModelSpec
    from edgeseg.train.samples import TrainingSet

STATISTICS_IMAGES, STATISTICS_BATCH = 64, 8


def restore_batch_norm_statistics(net: nn.Module, batches: Iterable[Tensor]) -> int:
    """Give folded batch norms the statistics of their inputs, in place; return the number of folded norms.

    Quantization-aware training folds the norms into the convolutions: each is left with mean 0, variance 1 and gamma 1,
    whatever its input. With real statistics (in training mode, or after pruning) its output would change. Here each
    norm gets the mean and variance of its input over `batches` of normalised images (N, 3, H, W), and the gamma and
    beta that leave its output unchanged. Freshly initialised norms do not count as folded.
    """
    folded = [_FoldedNorm(norm) for norm in net.modules() if isinstance(norm, nn.BatchNorm2d) and _is_folded(norm)]
    if not folded:
        return 0
    hooks = [item.norm.register_forward_pre_hook(item.add) for item in folded]
    training = net.training
    try:
        with torch.no_grad():
            for images in batches:
                net.eval()(images)
    finally:
        net.train(training)
        for hook in hooks:
            hook.remove()
    for item in folded:
        item.restore()
    return len(folded)


def training_images(training: TrainingSet, *, spec: ModelSpec) -> Iterable[Tensor]:
    """Yield batches of a training set's first augmented images, normalised (N, 3, H, W)."""
    count = min(STATISTICS_IMAGES, len(training.data))
    for start in range(0, count, STATISTICS_BATCH):
        images = [training[0, index][0] for index in range(start, min(start + STATISTICS_BATCH, count))]
        yield normalise(torch.stack(images), spec=spec)


def _is_folded(norm: nn.BatchNorm2d) -> bool:
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    return not mean.any() and bool((variance == 1 - norm.eps).all()) and bool((norm.weight == 1).all())


class _FoldedNorm:
    """One folded norm, and the sums over its inputs."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        self.norm = norm
        self._first = self._second = torch.zeros(norm.num_features, dtype=torch.float64)
        self._count = 0

    def add(self, _norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].double()
        self._first = self._first + x.sum((0, 2, 3))
        self._second = self._second + x.square().sum((0, 2, 3))
        self._count += x.numel() // x.shape[1]

    def restore(self) -> None:
        mean = self._first / self._count
        variance = (self._second / self._count - mean.square()).clamp_min(0)
        self.norm.load_state_dict(
            {
                **self.norm.state_dict(),
                "weight": (variance + self.norm.eps).sqrt(),
                "bias": self.norm.bias.detach() + mean,
                "running_mean": mean,
                "running_var": variance,
            }
        )
