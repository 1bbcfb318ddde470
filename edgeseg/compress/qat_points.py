"""Fake quantization: numbers rounded to int8's grid in a float graph, with gradients for what lies on either side."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torchao.quantization.pt2e import FakeQuantizeBase

from edgeseg.export.fitting import SMALLEST_SCALE

LOWEST, HIGHEST = -128, 127
LARGEST_WEIGHT = 127
# torchao's observers take no smaller weight scale; training must find the same.
EPS = torch.finfo(torch.float32).eps


class FakeActivation(FakeQuantizeBase):
    """Rounds a tensor to 256 steps between two ends that the subclass knows; zero is one of the steps."""

    def __init__(self, **_: object) -> None:
        super().__init__()
        self.frozen = False
        self.least_scale = SMALLEST_SCALE
        self.dtype = torch.int8
        self.quant_min, self.quant_max, self.qscheme = LOWEST, HIGHEST, torch.per_tensor_affine

    def ends(self) -> tuple[Tensor, Tensor]:
        """Return lowest and highest value, scalars; the lowest is 0 or less, the highest 0 or more."""
        raise NotImplementedError

    def raw_scale(self) -> Tensor:
        """Return the scale, a scalar, before `least_scale`."""
        low, high = self.ends()
        return ((high - low) / 255.0).detach()

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:
        """Return scale and zero point, scalars; the zero point is a whole number but has the ends' gradient."""
        low, high = self.ends()
        scale = ((high - low) / 255.0).clamp_min(self.least_scale)
        exact = LOWEST - low / scale
        whole = exact.detach().round().clamp(LOWEST, HIGHEST)
        return scale, exact + (whole - exact).detach()

    def range(self) -> tuple[float, float]:
        """Return the (low, high) whose scale and zero point are exactly those of training."""
        with torch.no_grad():
            scale, zero_point = (item.item() for item in self.calculate_qparams())
        zero_point = round(zero_point)
        return (LOWEST - zero_point) * scale, (HIGHEST - zero_point) * scale

    def forward(self, x: Tensor) -> Tensor:
        """Return x on the grid, of the same shape."""
        scale, zero_point = self.calculate_qparams()
        if self.frozen or not torch.is_grad_enabled():
            scale, zero_point = scale.detach(), zero_point.detach()
        return _Rounded.apply(x, scale, zero_point)  # type: ignore[no-any-return,no-untyped-call]


class LearnedRange(FakeActivation):
    """A range whose ends are trained, each as a factor e^t on where it started.

    The gradients of scale and zero point are those of LSQ (Esser et al., "Learned Step Size Quantization", ICLR 2020)
    and LSQ+ (Bhalgat et al., CVPR Workshops 2020), with the zero point rounded. The exponent makes a step relative to
    the range (Jain et al., "Trained Quantization Thresholds", MLSys 2020), keeps the signs of both ends, and a range
    that starts at zero stays there, as after a ReLU.
    """

    def __init__(self, *, low: float, high: float, rate: float, **options: Any) -> None:
        super().__init__(**options)
        self.low: Tensor
        self.high: Tensor
        self.register_buffer("low", torch.tensor(min(low, 0.0)))
        self.register_buffer("high", torch.tensor(max(high, 0.0)))
        self.stretch = nn.Parameter(torch.zeros(2))
        self.stretch.rate_factor = rate  # type: ignore[attr-defined]

    def ends(self) -> tuple[Tensor, Tensor]:
        """Return the trained ends."""
        low, high = self.stretch.exp().unbind()
        return self.low * low, self.high * high


class AverageRange(FakeActivation):
    """A range that follows the lowest and highest value of each training batch as a moving average, until frozen."""

    def __init__(self, *, low: float, high: float, rate: float, **options: Any) -> None:
        super().__init__(**options)
        self._rate = rate
        self.low: Tensor
        self.high: Tensor
        self.register_buffer("low", torch.tensor(min(low, 0.0)))
        self.register_buffer("high", torch.tensor(max(high, 0.0)))

    def ends(self) -> tuple[Tensor, Tensor]:
        """Return the averages."""
        return self.low, self.high

    def forward(self, x: Tensor) -> Tensor:
        """Return x on the grid, of the same shape."""
        if self.training and not self.frozen:
            low, high = torch.aminmax(x.detach())
            self.low.lerp_(low.clamp_max(0.0), self._rate)
            self.high.lerp_(high.clamp_min(0.0), self._rate)
        return super().forward(x)


class FakeWeight(FakeQuantizeBase):
    """Rounds a weight (O, ...) to 255 symmetric steps a channel, up to each channel's largest value."""

    def __init__(self, **_: object) -> None:
        super().__init__()
        self.least_scales: Tensor | None = None
        self.dtype = torch.int8
        self.quant_min, self.quant_max = -LARGEST_WEIGHT, LARGEST_WEIGHT
        self.qscheme = torch.per_channel_symmetric

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:
        """Raise: a weight's scales follow from the weight; see `weight_scales`."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Return x on the grid; its gradient passes unchanged."""
        scales = weight_scales(x, self.least_scales)
        zeros = torch.zeros_like(scales, dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(x, scales, zeros, 0, -LARGEST_WEIGHT, LARGEST_WEIGHT)


def weight_scales(weight: Tensor, least: Tensor | None) -> Tensor:
    """Return the scale of each output channel, (O,), as torchao's observer finds it, none below `least`."""
    scales = (largest_of(weight) / float(LARGEST_WEIGHT)).clamp_min(EPS)
    return scales if least is None else torch.maximum(scales, least)


def largest_of(weight: Tensor) -> Tensor:
    """Return the largest absolute value of each output channel, (O,)."""
    return weight.detach().abs().amax(tuple(range(1, weight.ndim)))


class _Rounded(torch.autograd.Function):
    """Fake quantization with LSQ's gradients.

    With y the rounded x and m = 1 where x lies within the range: dy/dx = m, dy/dscale = (y - m x) / scale,
    dy/dzero = -scale (1 - m).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, zero_point: Tensor) -> Tensor:
        y, inside = torch._fake_quantize_per_tensor_affine_cachemask_tensor_qparams(
            x, scale, zero_point.to(torch.int32), scale.new_ones(1), LOWEST, HIGHEST
        )
        ctx.learned = scale.requires_grad
        ctx.save_for_backward(inside, *((x, y, scale) if ctx.learned else ()))
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        if not ctx.learned:
            (inside,) = ctx.saved_tensors
            return grad * inside, None, None
        inside, x, y, scale = ctx.saved_tensors
        passed = grad * inside
        of_scale = ((grad * y).sum() - (passed * x).sum()) / scale
        of_zero = -scale * (grad.sum() - passed.sum())
        return passed, of_scale, of_zero
