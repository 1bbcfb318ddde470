"""Ops that slide a window over a map: convolutions and pools, on (N, C, H, W)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeseg.errors import UnsupportedError

if TYPE_CHECKING:
    from edgeseg.runtime.engines.mil.arguments import Arguments

Pads = tuple[tuple[int, int], tuple[int, int]]


def convolve(given: Arguments) -> np.ndarray:
    """Return (N, O, h, w) from x (N, I, H, W) and weight (O, I / groups, kh, kw), plus the bias where there is one."""
    x, weight = given.tensor("x"), given.tensor("weight")
    strides, dilations = _pair(given, "strides"), _pair(given, "dilations")
    kernel = (weight.shape[2], weight.shape[3])
    spans = tuple((side - 1) * dilation + 1 for side, dilation in zip(kernel, dilations, strict=True))
    padded = _pad(x, _pads(given, x, spans, strides))
    groups = given.integer("groups", 1)
    if weight.shape[1] == 1 and groups == x.shape[1]:
        y = _depthwise(padded, weight, strides, dilations)
    else:
        y = _grouped(padded, weight, strides, dilations, groups)
    if given.has("bias"):
        y += given.tensor("bias")[:, None, None]
    return y


def convolve_transposed(given: Arguments) -> np.ndarray:
    """Return (N, O, h, w) from x (N, I, H, W) and weight (I, O / groups, kh, kw), plus the bias where there is one."""
    x, weight = given.tensor("x"), given.tensor("weight")
    strides, dilations = _pair(given, "strides"), _pair(given, "dilations")
    kernel = (weight.shape[2], weight.shape[3])
    if given.text("pad_type", "valid") not in ("valid", "custom"):
        raise UnsupportedError("The reference evaluator pads transposed convolutions by numbers only.")
    pads = _pads(given, x, kernel, strides)
    whole = [
        (side - 1) * stride + (taps - 1) * dilation + 1
        for side, stride, taps, dilation in zip(x.shape[2:], strides, kernel, dilations, strict=True)
    ]
    shape = given.integers("output_shape", ())
    sides = shape[2:] or tuple(side - sum(both) for side, both in zip(whole, pads, strict=True))
    groups = given.integer("groups", 1)
    batch, inputs, height, width = x.shape
    parts = x.reshape(batch, groups, inputs // groups, height * width)
    matrices = weight.reshape(groups, inputs // groups, weight.shape[1], *kernel)
    # More than the whole where an output shape asks for rows beyond it.
    longest = [max(side, want + both[0]) for side, want, both in zip(whole, sides, pads, strict=True)]
    y = np.zeros((batch, groups * weight.shape[1], *longest), np.float32)
    for row in range(kernel[0]):
        rows = slice(row * dilations[0], row * dilations[0] + (height - 1) * strides[0] + 1, strides[0])
        for column in range(kernel[1]):
            left = column * dilations[1]
            tap = np.matmul(matrices[..., row, column].swapaxes(1, 2), parts)
            y[:, :, rows, left : left + (width - 1) * strides[1] + 1 : strides[1]] += tap.reshape(
                batch, -1, height, width
            )
    (top, _), (left, _) = pads
    y = y[:, :, top : top + sides[0], left : left + sides[1]]
    return y + given.tensor("bias")[:, None, None] if given.has("bias") else y


def average_pool(given: Arguments) -> np.ndarray:
    """Return the mean of each window; padding counts unless the op excludes it."""
    x = given.tensor("x")
    kernel, strides, pads = _pool_window(given, x)
    total = reduce_windows(_pad(x, pads), kernel, strides, np.add)
    if not given.flag("exclude_padding_from_average", False) or not any(map(any, pads)):
        return total / np.float32(kernel[0] * kernel[1])
    ones = _pad(np.ones((1, 1, *x.shape[2:]), np.float32), pads)
    result: np.ndarray = total / reduce_windows(ones, kernel, strides, np.add)
    return result


def max_pool(given: Arguments) -> np.ndarray:
    """Return the largest value of each window."""
    x = given.tensor("x")
    kernel, strides, pads = _pool_window(given, x)
    return reduce_windows(_pad(x, pads, fill=-np.inf), kernel, strides, np.maximum)


def _depthwise(x: np.ndarray, weight: np.ndarray, strides: tuple[int, int], dilations: tuple[int, int]) -> np.ndarray:
    """One shifted multiply-add a tap: numpy streams through it, where gathering windows would copy kh * kw times."""
    multiplier = weight.shape[0] // x.shape[1]
    if multiplier > 1:
        x = np.repeat(x, multiplier, axis=1)
    taps = list(_taps(x, (weight.shape[2], weight.shape[3]), strides, dilations))
    y = np.zeros(taps[0][2].shape, np.float32)
    product = np.empty_like(y)
    for row, column, shifted in taps:
        np.multiply(shifted, weight[:, 0, row, column][:, None, None], out=product)
        y += product
    return y


def _grouped(
    x: np.ndarray, weight: np.ndarray, strides: tuple[int, int], dilations: tuple[int, int], groups: int
) -> np.ndarray:
    """One matrix product a group, over columns of (channel, tap)."""
    outputs, inputs, *kernel = weight.shape
    taps = [tap for _, _, tap in _taps(x, (kernel[0], kernel[1]), strides, dilations)]
    batch, _, height, width = taps[0].shape
    columns = taps[0][:, :, None] if len(taps) == 1 else np.stack(taps, axis=2)
    columns = columns.reshape(batch, groups, inputs * len(taps), height * width)
    matrices = weight.reshape(groups, outputs // groups, inputs * len(taps))
    result: np.ndarray = np.matmul(matrices, columns).reshape(batch, outputs, height, width)
    return result


def _taps(
    x: np.ndarray, kernel: tuple[int, int], strides: tuple[int, int], dilations: tuple[int, int]
) -> list[tuple[int, int, np.ndarray]]:
    """Return (row, column, view of x under that place of the window) for every place of the window."""
    height = (x.shape[2] - (kernel[0] - 1) * dilations[0] - 1) // strides[0] + 1
    width = (x.shape[3] - (kernel[1] - 1) * dilations[1] - 1) // strides[1] + 1
    views = []
    for row in range(kernel[0]):
        rows = slice(row * dilations[0], row * dilations[0] + (height - 1) * strides[0] + 1, strides[0])
        for column in range(kernel[1]):
            left = column * dilations[1]
            views.append((row, column, x[:, :, rows, left : left + (width - 1) * strides[1] + 1 : strides[1]]))
    return views


def reduce_windows(
    x: np.ndarray,
    kernel: tuple[int, int],
    strides: tuple[int, int],
    combine: np.ufunc,
    *,
    dilations: tuple[int, int] = (1, 1),
) -> np.ndarray:
    """Return each window of x (N, C, H, W) combined into one value, such as by `np.add`."""
    taps = [tap for _, _, tap in _taps(x, kernel, strides, dilations)]
    result = taps[0].copy()
    for tap in taps[1:]:
        combine(result, tap, out=result)
    return result


def _pool_window(given: Arguments, x: np.ndarray) -> tuple[tuple[int, int], tuple[int, int], Pads]:
    if given.flag("ceil_mode", False):
        raise UnsupportedError("The reference evaluator has no pools with ceil_mode. Build the net without it.")
    kernel, strides = _pair(given, "kernel_sizes"), _pair(given, "strides")
    return kernel, strides, _pads(given, x, kernel, strides)


def _pair(given: Arguments, name: str) -> tuple[int, int]:
    values = given.integers(name, (1, 1))
    if len(values) != 2:
        raise UnsupportedError(f"The reference evaluator slides windows over two axes only; {name} is {values}.")
    return values[0], values[1]


def _pads(given: Arguments, x: np.ndarray, spans: tuple[int, ...], strides: tuple[int, int]) -> Pads:
    kind = given.text("pad_type", "valid")
    if kind == "valid":
        return (0, 0), (0, 0)
    if kind == "custom":
        top, bottom, left, right = given.integers("pad", (0, 0, 0, 0))
        return (top, bottom), (left, right)
    if kind not in ("same", "same_lower"):
        raise UnsupportedError(f'The reference evaluator does not know the padding "{kind}".')
    both = []
    for side, span, stride in zip(x.shape[2:], spans, strides, strict=True):
        total = max(0, (-(-side // stride) - 1) * stride + span - side)
        small, large = total // 2, total - total // 2
        both.append((small, large) if kind == "same" else (large, small))
    return both[0], both[1]


def _pad(x: np.ndarray, pads: Pads, *, fill: float = 0.0) -> np.ndarray:
    if not any(map(any, pads)):
        return x
    return np.pad(x, ((0, 0), (0, 0), *pads), constant_values=fill)
