"""int8 scales that the engines' kernels can represent: one rule for training, calibration and conversion.

A convolution multiplies its int32 sums by input scale * weight scale / output scale. XNNPACK takes factors from 2^-32
to below 2^8 (LiteRT 2.3 corrupts its memory outside these limits), and the bias must fit in an int32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterable

# Smaller scales would underflow in the engines' fixed-point multipliers.
SMALLEST_SCALE = 1e-8
LEAST_FACTOR, LARGEST_FACTOR, LARGEST_BIAS = 2.0**-28, 2.0**7, 2.0**30


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What limits a convolution's scales: the points that it reads and writes, its largest weight and bias."""

    source: str
    target: str
    weight: float
    bias: float | None


def affine(
    low: float, high: float, *, least_scale: float = SMALLEST_SCALE, symmetric: bool = False
) -> tuple[float, int]:
    """Return the int8 (scale, zero point) of a range widened to include zero; the scale is a float32 value.

    With `symmetric` the range is widened to (-m, m), m its larger end, and the zero point is 0.
    """
    if symmetric:
        scale = max(max(abs(low), abs(high)) / 127.0, least_scale)
        return float(torch.tensor(scale, dtype=torch.float32)), 0
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max((high - low) / 255.0, least_scale)
    zero_point = min(127, max(-128, round(-128.0 - low / scale)))
    return float(torch.tensor(scale, dtype=torch.float32)), int(zero_point)


def fitting_scales(scales: dict[str, float], loads: Iterable[Load]) -> dict[str, float]:
    """Return the scale of each point, enlarged where a factor would be too large; `loads` are in graph order."""
    fitting = dict(scales)
    for load in loads:
        largest = fitting[load.source] * load.weight / 127.0
        if load.bias is not None:
            largest = max(largest, load.bias / LARGEST_BIAS)
        fitting[load.target] = max(fitting[load.target], largest / LARGEST_FACTOR)
    return fitting


def least_weight_scales(channels: int, bias: Tensor | None, *, source: float, target: float) -> Tensor:
    """Return (channels,): the smallest weight scales that the multiplier and the int32 bias of a convolution allow.

    `source` and `target` are the scales of its input and output.
    """
    least = torch.full((channels,), target * LEAST_FACTOR / source, device=None if bias is None else bias.device)
    return least if bias is None else torch.maximum(least, bias.abs() / (source * LARGEST_BIAS))
