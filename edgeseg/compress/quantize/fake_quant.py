"""Fake quantization: rounds numbers to the int8 grid in a float graph, with gradients for values and ranges."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from edgeseg.core.silence import quiet_loggers
from edgeseg.errors import UnsupportedError

with quiet_loggers("torchao", "torch.utils._pytree"):  # it logs kernels of other machines that do not load
    from torchao.quantization.pt2e import FakeQuantizeBase

QMIN, QMAX = -128, 127
LARGEST_WEIGHT = 127
# The smallest weight scale of torchao's observers; training must use the same.
EPS = torch.finfo(torch.float32).eps


class FakeActivation(FakeQuantizeBase):  # type: ignore[misc]  # torchao is untyped
    """Rounds a tensor to 256 steps between two ends given by the subclass; zero is one of the steps.

    `scale` and `zero_point` are set from outside before each pass, since they depend on the limits of the kernels.
    """

    def __init__(self, **_: object) -> None:
        super().__init__()
        self.frozen = False
        self.scale, self.zero_point = 1.0, 0
        self.dtype = torch.int8
        self.quant_min, self.quant_max, self.qscheme = QMIN, QMAX, torch.per_tensor_affine

    @abstractmethod
    def ends(self) -> tuple[Tensor, Tensor]:
        """Return the lowest (at most 0) and the highest value (at least 0), scalars."""

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:
        """Return scale and zero point of the last pass, scalars."""
        return torch.tensor(self.scale), torch.tensor(self.zero_point)

    def range(self) -> tuple[float, float]:
        """Return the (low, high) whose scale and zero point are exactly those of the last pass."""
        return (QMIN - self.zero_point) * self.scale, (QMAX - self.zero_point) * self.scale

    def forward(self, x: Tensor) -> Tensor:
        """Return x on the grid, of the same shape."""
        low, high = self.ends()
        if self.frozen or not torch.is_grad_enabled():
            low, high = low.detach(), high.detach()
        return _Rounded.apply(x, low, high, self.scale, self.zero_point)  # type: ignore[no-any-return,no-untyped-call]


class LearnedRange(FakeActivation):
    """A range with trained ends, each a factor e^t on its start value.

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
    """A range that follows the lowest and highest value of each training batch as a moving average, until frozen.

    It never leaves `span`. With `widen`, a batch beyond it widens it at once, and only narrower ones are averaged.
    """

    def __init__(
        self, *, low: float, high: float, rate: float, span: tuple[float, float], widen: bool = False, **options: Any
    ) -> None:
        super().__init__(**options)
        self._rate, self._span, self._widen = rate, span, widen
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
            low, high = torch.aminmax(_flat(x.detach()).clamp(*self._span))
            low, high = low.clamp_max(0.0), high.clamp_min(0.0)
            self.low.lerp_(low, self._rate)
            self.high.lerp_(high, self._rate)
            if self._widen:
                torch.minimum(self.low, low, out=self.low)
                torch.maximum(self.high, high, out=self.high)
        return super().forward(x)


class FakeWeight(FakeQuantizeBase):  # type: ignore[misc]  # torchao is untyped
    """Rounds a weight (O, ...) to 255 symmetric steps a channel, up to each channel's largest value."""

    def __init__(self, **_: object) -> None:
        super().__init__()
        self.least_scales: Tensor | None = None
        self.dtype = torch.int8
        self.quant_min, self.quant_max = -LARGEST_WEIGHT, LARGEST_WEIGHT
        self.qscheme = torch.per_channel_symmetric

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:
        """Raise `UnsupportedError`: the scales depend on the weight, which torchao does not pass here."""
        raise UnsupportedError("Scales of a fake-quantized weight come from `scales(weight)`.")

    def scales(self, weight: Tensor) -> Tensor:
        """Return the scale of each output channel, (O,), as torchao's observer computes it, at least `least_scales`."""
        largest = weight.detach().abs().amax(tuple(range(1, weight.ndim)))
        found = (largest / float(LARGEST_WEIGHT)).clamp_min(EPS)
        return found if self.least_scales is None else torch.maximum(found, self.least_scales)

    def forward(self, x: Tensor) -> Tensor:
        """Return x on the grid; its gradient passes unchanged."""
        scales = self.scales(x)
        zeros = torch.zeros_like(scales, dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine(x, scales, zeros, 0, -LARGEST_WEIGHT, LARGEST_WEIGHT)


class _Rounded(torch.autograd.Function):
    """Fake quantization with LSQ's gradients.

    With y the rounded x and m = 1 where x lies within the range: dy/dx = m, dy/dscale = (y - m x) / scale,
    dy/dzero = -scale (1 - m). From there to the ends: scale = (high - low) / 255, zero = -128 - low / scale.
    """

    @staticmethod
    def forward(  # noqa: PLR0917 - autograd passes all arguments by position
        ctx: Any, x: Tensor, low: Tensor, high: Tensor, scale: float, zero_point: int
    ) -> Tensor:
        # Plain in-place operations are several times faster on a CPU than PyTorch's own fake quantization.
        y = x.mul(1.0 / scale).round_().clamp_(QMIN - zero_point, QMAX - zero_point).mul_(scale)
        ctx.scale, ctx.zero_point = scale, zero_point
        learned = low.requires_grad or high.requires_grad
        ctx.save_for_backward(x, *((y, low, high) if learned else ()))
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, *learned = ctx.saved_tensors
        scale, zero_point = ctx.scale, ctx.zero_point
        edges = (QMIN - zero_point - 0.5) * scale, (QMAX - zero_point + 0.5) * scale
        passed = torch.ops.aten.hardtanh_backward(grad, x, *edges)
        if not learned:
            return passed, None, None, None, None
        y, low, high = learned
        span = high - low
        of_scale = (_dot(grad, y) - _dot(passed, x)) / scale
        of_zero = -scale * (grad.sum() - passed.sum())
        return passed, *_of_ends(of_scale, of_zero, low=low, high=high, span=span), None, None


def _of_ends(of_scale: Tensor, of_zero: Tensor, *, low: Tensor, high: Tensor, span: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of both ends from those of scale and zero point; 0 for a range of zero width."""
    share = 255.0 * of_zero / span.square()
    of_low, of_high = -of_scale / 255.0 - share * high, of_scale / 255.0 + share * low
    return torch.where(span > 0, of_low, 0.0), torch.where(span > 0, of_high, 0.0)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return torch.dot(_flat(a), _flat(b))


def _flat(x: Tensor) -> Tensor:
    """Return x as a vector, in channels-last order if it has four dimensions; a view if it is stored that way."""
    return (x.permute(0, 2, 3, 1) if x.ndim == 4 else x).reshape(-1)
