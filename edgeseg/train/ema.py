"""The moving average of a net's weights, which is what is evaluated and kept."""

from __future__ import annotations

import copy

import torch
from torch import nn


class WeightAverage:
    """average = d * average + (1 - d) * weights after each step, with d = min(decay, (1 + t) / (10 + t)) at step t.

    The growing decay lets early steps be forgotten (TensorFlow's ExponentialMovingAverage with `num_updates`).
    Batch norm's running statistics are averaged too; integer buffers are copied. A decay of 0 follows the weights.
    """

    def __init__(self, net: nn.Module, *, decay: float) -> None:
        self.decay = decay
        self.net = copy.deepcopy(net).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, net: nn.Module, *, step: int) -> None:
        """Take the weights after step `step` (from 0) into the average."""
        decay = min(self.decay, (1 + step) / (10 + step))
        own, new = self.net.state_dict(), net.state_dict()
        floats = [key for key, value in own.items() if value.is_floating_point()]
        torch._foreach_lerp_([own[key] for key in floats], [new[key] for key in floats], 1 - decay)
        for key, value in own.items():
            if not value.is_floating_point():
                value.copy_(new[key])
