"""int8 scales that the engines' kernels can represent: one rule for training, calibration and conversion.

A convolution multiplies its int32 sums by input scale * weight scale / output scale. XNNPACK takes factors from 2^-32
to below 2^8 (LiteRT 2.3 corrupts its memory outside these limits), and the bias must fit in an int32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Iterable

# Smaller scales would underflow in the engines' fixed-point multipliers.
SMALLEST_SCALE = 1e-8
LEAST_FACTOR, LARGEST_FACTOR, LARGEST_BIAS = 2.0**-28, 2.0**7, 2.0**30
# What the rounding of two weights adds to their products, at most half of 255 each, is left free.
_LARGEST_PAIR = 32767.0 - 255.0


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


def unsaturated_weight_scales(weight: Tensor, *, pairs: Tensor) -> Tensor:
    """Return (out,): the smallest scales of a weight (out, in, ...) with which no two adjacent products exceed int16.

    x86 CPUs without VNNI multiply activations, stored as 0 to 255, by int8 weights, and add the products of input
    channels 0 and 1, 2 and 3, ... in saturating 16 bits (`vpmaddubsw`, Intel's intrinsics guide). Only weights of the
    same sign add up. `pairs` (ceil(in / 2), 256) holds the largest stored number of a pair's second channel for each
    of its first, negative where there is none.
    """
    taps = weight.reshape(*weight.shape[:2], -1)
    taps = F.pad(taps, (0, 0, 0, taps.shape[1] % 2)).unflatten(1, (-1, 2)).permute(1, 2, 0, 3).flatten(2)
    codes = torch.arange(256.0, device=weight.device)
    largest = []
    for pair, seconds in zip(taps, pairs.to(weight), strict=True):
        met = seconds >= 0
        stored = torch.stack([codes[met], seconds[met]], 1)
        largest += [(stored @ (sign * pair).clamp(min=0)).amax(0) for sign in (1, -1)] if len(stored) else []
    sums = torch.stack(largest).amax(0) if largest else taps.new_zeros(taps.shape[2])
    return sums.view(len(weight), -1).amax(1) / _LARGEST_PAIR
