"""Batch norms that a quantized training has left idle, given statistics again before anything trains or cuts them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from edgeseg.train.evaluate import normalise

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgeseg.core.spec import ModelSpec
    from edgeseg.train.samples import TrainingSet

IMAGES, BATCH = 64, 8


def settle_norms(net: nn.Module, batches: Iterable[Tensor]) -> int:
    """Give idle batch norms the statistics of what reaches them, in place; return how many there were.

    A net from quantization-aware training carries its norms folded into its convolutions: each is left with mean 0,
    variance 1 and gamma 1, whatever reaches it. As soon as it normalised by real statistics, in training mode or after
    pruning, its answers would be others. Here each gets the mean and variance of its input over `batches` of
    normalised images (N, 3, H, W), and the gamma and beta with which it answers as before. Fresh norms are not idle.
    """
    idle = [_Idle(norm) for norm in net.modules() if isinstance(norm, nn.BatchNorm2d) and _is_idle(norm)]
    if not idle:
        return 0
    hooks = [item.norm.register_forward_pre_hook(item.add) for item in idle]
    training = net.training
    try:
        with torch.no_grad():
            for images in batches:
                net.eval()(images)
    finally:
        net.train(training)
        for hook in hooks:
            hook.remove()
    for item in idle:
        item.settle()
    return len(idle)


def training_images(training: TrainingSet, *, spec: ModelSpec) -> Iterable[Tensor]:
    """Yield batches of a training set's first augmented images, normalised (N, 3, H, W)."""
    count = min(IMAGES, len(training.data))
    for start in range(0, count, BATCH):
        images = [training[0, index][0] for index in range(start, min(start + BATCH, count))]
        yield normalise(torch.stack(images), spec=spec)


def _is_idle(norm: nn.BatchNorm2d) -> bool:
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    return not mean.any() and bool((variance == 1 - norm.eps).all()) and bool((norm.weight == 1).all())


class _Idle:
    """One idle norm, and the sums over what reaches it."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        self.norm = norm
        self._first = self._second = torch.zeros(norm.num_features, dtype=torch.float64)
        self._count = 0

    def add(self, _norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].double()
        self._first = self._first + x.sum((0, 2, 3))
        self._second = self._second + x.square().sum((0, 2, 3))
        self._count += x.numel() // x.shape[1]

    def settle(self) -> None:
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
