"""The moving average of a net's weights, which is evaluated and saved."""

from __future__ import annotations

import copy

import torch
from torch import nn


class WeightAverage:
    """average = d * average + (1 - d) * weights after each step, with d = min(decay, (1 + t) / (10 + t)) at step t.

    The growing decay gives early steps little weight (as TensorFlow's ExponentialMovingAverage with `num_updates`).
    Running statistics of batch norm are averaged too; integer buffers are copied. With a decay of 0 the average equals
    the weights.
    """

    def __init__(self, net: nn.Module, *, decay: float) -> None:
        self.decay = decay
        self.net = copy.deepcopy(net).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, net: nn.Module, *, step: int) -> None:
        """Update the average with the weights after step `step` (from 0)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        own, new = self.net.state_dict(), net.state_dict()
        floats = [key for key, value in own.items() if value.is_floating_point()]
        torch._foreach_lerp_([own[key] for key in floats], [new[key] for key in floats], 1 - decay)
        for key, value in own.items():
            if not value.is_floating_point():
                value.copy_(new[key])
