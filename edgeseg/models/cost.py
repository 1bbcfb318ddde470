"""The cost of a net at a size: parameters and multiply-accumulates."""

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
    """Return the cost of `net` for one image of `size`, the size that it was built for.

    Counted by torch's own flop counter (convolutions and matrix products; a MAC is two of its operations), on zeros
    at small sizes and on meta tensors at large ones, so that any size is quick. The net is not changed.
    """
    from edgeseg.models.dry_run import SMALL_PIXELS
    from edgeseg.models.surgery import without_aux

    counted = without_aux(net).eval()
    flops = _flops(counted, size=size, device="cpu") if size[0] * size[1] <= SMALL_PIXELS else None
    if flops is None:
        try:
            flops = _flops(copy.deepcopy(counted), size=size, device="meta")
        except Exception:  # noqa: BLE001 - a foreign net may make tensors of its own on the CPU
            flops = _flops(counted, size=size, device="cpu")
    parameters = sum(parameter.numel() for parameter in counted.parameters())
    return Cost(parameters=parameters, macs=flops // 2, size=size)


def _flops(net: nn.Module, *, size: tuple[int, int], device: str) -> int:
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    # The counter does not know the CPU's fused attention; as matrix products the count is the same on every device.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        net.to(device)(torch.zeros(1, 3, *size, device=device))
    return counter.get_total_flops()
