"""The optimizer and its parameter groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from edgeseg.train.recipe import Recipe


def make_optimizer(net: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Return the optimizer; each group stores its base learning rate as `base`, which the schedule scales.

    A parameter's attribute `rate_factor`, if present, multiplies its learning rate.
    """
    wanted = recipe.optimizer
    encoder = {id(parameter) for parameter in getattr(net, "encoder", nn.Module()).parameters()}
    groups: list[dict[str, object]] = []
    for inside, factor in ((False, 1.0), (True, wanted.encoder_rate)):
        own = [parameter for parameter in net.parameters() if (id(parameter) in encoder) == inside]
        kinds = dict.fromkeys((decayed, rate) for decayed in (True, False) for rate in sorted({*map(_rate, own)}))
        for decayed, rate in kinds:
            chosen = [parameter for parameter in own if (parameter.ndim > 1, _rate(parameter)) == (decayed, rate)]
            if chosen:
                base = wanted.rate * factor * rate
                decay = wanted.weight_decay if decayed else 0.0
                groups.append({"params": chosen, "lr": base, "base": base, "weight_decay": decay})
    if wanted.name == "sgd":
        return torch.optim.SGD(groups, lr=wanted.rate, momentum=wanted.momentum, nesterov=wanted.momentum > 0)
    return torch.optim.AdamW(groups, lr=wanted.rate)


def _rate(parameter: nn.Parameter) -> float:
    return float(getattr(parameter, "rate_factor", 1.0))
