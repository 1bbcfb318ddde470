"""What a net costs at a size: parameters and multiply-accumulates."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Parameters (auxiliary heads left out) and multiply-accumulates of one image at `size` (height, width)."""

    parameters: int
    macs: int
    size: tuple[int, int]


def cost(net: nn.Module, *, size: tuple[int, int]) -> Cost:
    """Return what net costs for one image of `size`, the size that it was built for.

    Counted by torch's own flop counter (convolutions and matrix products; a MAC is two of its operations) on
    tensors without data where the net can, so that any size is quick and takes no memory. The net is not changed.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from edgeseg.models.surgery import without_aux

    counted = without_aux(net).eval()
    counter = FlopCounterMode(display=False)
    try:
        with torch.no_grad(), counter:
            copy.deepcopy(counted).to("meta")(torch.empty(1, 3, *size, device="meta"))
    except Exception:  # noqa: BLE001 - a foreign net may make tensors of its own on the CPU
        counter = FlopCounterMode(display=False)
        with torch.no_grad(), counter:
            counted.cpu()(torch.zeros(1, 3, *size))
    parameters = sum(parameter.numel() for parameter in counted.parameters())
    return Cost(parameters=parameters, macs=counter.get_total_flops() // 2, size=size)
