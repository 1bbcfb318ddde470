"""Other ways to compute ops that accelerators lack, best first: exact ones, and ones that only images can judge."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from edgeseg.core.suggestions import unknown

FOUR_DIMENSIONS = "4 dimensions"
"""The way to compute `reshape` that follows a tensor through several calls: see `edgeseg.models.view_rewrite`."""
Compute = Callable[..., Tensor | None]
_GELU_SIGMOID = 1.702
"""Hendrycks and Gimpel, Gaussian Error Linear Units, 2016: x * sigmoid(1.702 x)."""
_LEAKY_SLOPE = 0.01
_MODES = {"upsample_nearest2d": "nearest", "upsample_bilinear2d": "bilinear", "upsample_bicubic2d": "bicubic"}
"""The modes of PyTorch's `interpolate` behind each op."""
_INTERPOLATE = ("input", "size", "scale_factor", "mode", "align_corners", "recompute_scale_factor", "antialias")
"""Its arguments in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpAlternative:
    """Another way to compute the op `op` (an ATen name).

    `function` is what nets call. `compute` takes its arguments, and returns None for a call that it cannot replace.
    `needs` are the ops that it computes with. With `exact` only the order of sums differs.
    """

    op: str
    name: str
    function: Callable[..., Any]
    compute: Compute
    needs: tuple[str, ...]
    exact: bool
    does: str


def alternatives(op: str) -> tuple[OpAlternative, ...]:
    """Return the other ways to compute an op, exact ones first; empty if there are none."""
    return tuple(item for item in ALTERNATIVES if item.op == op)


def alternative(op: str, name: str) -> OpAlternative:
    """Return the way called `name` to compute an op.

    Raises:
        UnknownName: no such op, or no such way; names the nearest one.
    """
    ways = {item.name: item for item in alternatives(op)}
    if not ways:
        raise unknown("op with another way to compute it", op, {item.op for item in ALTERNATIVES})
    if name not in ways:
        raise unknown(f"way to compute {op}", name, ways)
    return ways[name]


def _relu(x: Tensor, *_: object, **__: object) -> Tensor:
    return functional.relu(x)


def _relu6(x: Tensor, *_: object, **__: object) -> Tensor:
    return functional.relu6(x)


def _hard_swish(x: Tensor, *_: object, **__: object) -> Tensor:
    return functional.hardswish(x)


def _silu(x: Tensor, *_: object, **__: object) -> Tensor:
    return functional.silu(x)


def _hard_swish_product(x: Tensor, *_: object, **__: object) -> Tensor:
    return x * (functional.relu6(x + 3.0) * (1.0 / 6.0))


def _hard_sigmoid_relu6(x: Tensor, *_: object, **__: object) -> Tensor:
    return functional.relu6(x + 3.0) * (1.0 / 6.0)


def _sigmoid(x: Tensor, *_: object, **__: object) -> Tensor:
    return torch.sigmoid(x)


def _silu_product(x: Tensor, *_: object, **__: object) -> Tensor:
    return x * torch.sigmoid(x)


def _gelu_tanh(x: Tensor, *_: object, **__: object) -> Tensor:
    inner = (x + 0.044715 * x.pow(3)) * math.sqrt(2.0 / math.pi)
    return 0.5 * x * (1.0 + torch.tanh(inner))


def _gelu_sigmoid(x: Tensor, *_: object, **__: object) -> Tensor:
    return x * torch.sigmoid(x * _GELU_SIGMOID)


def _leaky_from_relu(x: Tensor, negative_slope: float = _LEAKY_SLOPE, *_: object, **__: object) -> Tensor:
    return functional.relu(x) - functional.relu(x * -1.0) * negative_slope


def _resized(replaced: str, mode: str, *, doubling: bool) -> Callable[..., Tensor | None]:
    """Return a resize with another mode than `replaced`, at once or by doubling; None for a call to leave alone."""

    def compute(
        *args: Any,
        **options: Any,
    ) -> Tensor | None:
        given = {**dict(zip(_INTERPOLATE, args, strict=False)), **options}
        x: Tensor = given["input"]
        height, width = x.shape[-2:]
        small = x.dim() != 4 or (height, width) == (1, 1)
        if given.get("mode", "nearest") != replaced or given.get("antialias") or small:
            return None
        wanted = _size_of(height, width, size=given.get("size"), scale_factor=given.get("scale_factor"))
        corners = None if mode == "nearest" else False
        if not doubling:
            return functional.interpolate(x, size=wanted, mode=mode, align_corners=corners)
        steps = _doublings(height, width, wanted)
        if steps is None or steps < 2:
            return None
        for _step in range(steps):
            x = functional.interpolate(x, scale_factor=2.0, mode=mode, align_corners=corners)
        return x

    return compute


def _size_of(height: int, width: int, *, size: Any, scale_factor: Any) -> tuple[int, int]:
    if size is not None:
        return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
    high, wide = scale_factor if isinstance(scale_factor, (tuple, list)) else (scale_factor, scale_factor)
    return math.floor(height * high), math.floor(width * wide)


def _doublings(height: int, width: int, wanted: tuple[int, int]) -> int | None:
    """Return how many doublings make a size of another, None if none do."""
    factor = wanted[0] // height
    whole = factor > 0 and factor & (factor - 1) == 0
    return factor.bit_length() - 1 if whole and wanted == (height * factor, width * factor) else None


def _pooled_twice(x: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, *_: object) -> Tensor | None:
    """Return an average pool without overlap in two steps, None for any other."""
    kernel, step = _pair(kernel_size), _pair(stride if stride not in (None, ()) else kernel_size)
    small = tuple(_divisor(side) for side in kernel)
    if kernel != step or _pair(padding) != (0, 0) or small == kernel or max(small) == 1:
        return None
    if any(length % side for length, side in zip(x.shape[-2:], kernel, strict=True)):
        return None
    rest = (kernel[0] // small[0], kernel[1] // small[1])
    return functional.avg_pool2d(functional.avg_pool2d(x, (small[0], small[1])), rest)


def _divisor(side: int) -> int:
    """Return the smallest divisor of a side that is at least its square root."""
    return next(one for one in range(math.isqrt(side - 1) + 1, side + 1) if side % one == 0) if side > 1 else 1


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[-1]))


def _activation(
    op: str, name: str, function: Callable[..., Any], compute: Compute, needs: tuple[str, ...], *, exact: bool = False
) -> OpAlternative:
    return OpAlternative(
        op=op, name=name, function=function, compute=compute, needs=needs, exact=exact, does=f"{op} as {name}"
    )


def _resize(op: str, name: str, mode: str, *, doubling: bool, exact: bool, does: str) -> OpAlternative:
    needs = "upsample_nearest2d" if mode == "nearest" else "upsample_bilinear2d"
    compute = _resized(_MODES[op], mode, doubling=doubling)
    return OpAlternative(
        op=op, name=name, function=functional.interpolate, compute=compute, needs=(needs,), exact=exact, does=does
    )


_HALF_PIXEL = "with half-pixel centres instead of aligned corners"
_TWICE = "by 2 several times"
ALTERNATIVES = (
    _activation("hardswish", "x * relu6(x + 3) / 6", functional.hardswish, _hard_swish_product,
                ("add", "relu6", "mul"), exact=True),
    _activation("hardswish", "relu", functional.hardswish, _relu, ("relu",)),
    _activation("hardsigmoid", "relu6(x + 3) / 6", functional.hardsigmoid, _hard_sigmoid_relu6,
                ("add", "relu6", "mul"), exact=True),
    _activation("hardsigmoid", "sigmoid", functional.hardsigmoid, _sigmoid, ("sigmoid",)),
    _activation("silu", "x * sigmoid(x)", functional.silu, _silu_product, ("sigmoid", "mul"), exact=True),
    _activation("silu", "hardswish", functional.silu, _hard_swish, ("hardswish",)),
    _activation("silu", "relu", functional.silu, _relu, ("relu",)),
    _activation("gelu", "its tanh form", functional.gelu, _gelu_tanh, ("pow", "mul", "add", "tanh")),
    _activation("gelu", "x * sigmoid(1.702 x)", functional.gelu, _gelu_sigmoid, ("sigmoid", "mul")),
    _activation("gelu", "relu", functional.gelu, _relu, ("relu",)),
    _activation("mish", "silu", functional.mish, _silu, ("silu",)),
    _activation("mish", "hardswish", functional.mish, _hard_swish, ("hardswish",)),
    _activation("mish", "relu", functional.mish, _relu, ("relu",)),
    _activation("elu", "relu", functional.elu, _relu, ("relu",)),
    _activation("leaky_relu", "relu(x) - slope * relu(-x)", functional.leaky_relu, _leaky_from_relu,
                ("relu", "mul", "sub"), exact=True),
    _activation("leaky_relu", "relu", functional.leaky_relu, _relu, ("relu",)),
    _activation("hardtanh", "relu6", functional.hardtanh, _relu6, ("relu6",)),
    _activation("hardtanh", "relu", functional.hardtanh, _relu, ("relu",)),
    _resize("upsample_nearest2d", "nearest x2", "nearest", doubling=True, exact=True, does=f"nearest, {_TWICE}"),
    _resize("upsample_bilinear2d", "bilinear", "bilinear", doubling=False, exact=False, does=_HALF_PIXEL),
    _resize("upsample_bilinear2d", "bilinear x2", "bilinear", doubling=True, exact=False, does=f"bilinear, {_TWICE}"),
    _resize("upsample_bilinear2d", "nearest", "nearest", doubling=False, exact=False, does="nearest, not bilinear"),
    _resize("upsample_bilinear2d", "nearest x2", "nearest", doubling=True, exact=False, does=f"nearest, {_TWICE}"),
    _resize("upsample_bicubic2d", "bilinear", "bilinear", doubling=False, exact=False, does="bilinear, not bicubic"),
    _resize("upsample_bicubic2d", "bilinear x2", "bilinear", doubling=True, exact=False, does=f"bilinear, {_TWICE}"),
    OpAlternative(op="reshape", name=FOUR_DIMENSIONS, function=Tensor.reshape, compute=lambda *_, **__: None,
                  needs=(), exact=True, does="reshapes and transposes in at most 4 dimensions"),
    OpAlternative(op="avg_pool2d", name="two steps", function=functional.avg_pool2d, compute=_pooled_twice,
                  needs=("avg_pool2d",), exact=True, does="pooled in two steps"),
)  # fmt: skip
