"""The ops of Core AI that nets for segmentation become, by the definitions in Apple's coreai-core 1.0 (dialect 27).

Each kernel takes an op and its operands and returns its result, or a tuple where it has several.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeseg.errors import UnsupportedError
from edgeseg.runtime.engines.coreai.constants import element_dtype
from edgeseg.runtime.engines.mil import elementwise, windows
from edgeseg.runtime.engines.mil.arguments import Arguments
from edgeseg.runtime.engines.mil.shapes import linear_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeseg.runtime.engines.coreai.mlir_text import CoreAIOp
    from edgeseg.runtime.engines.mil.values import Value

CoreAIKernel = Callable[..., Any]
_PADDING = re.compile(r"padding_mode<(\w+)>")
_PADDING_MODES = {"replicate": "edge", "reflect": "reflect", "symmetric": "symmetric", "circular": "wrap"}


def _of_numpy(function: Callable[..., Any]) -> CoreAIKernel:
    def compute(_op: CoreAIOp, *operands: NDArray[Any]) -> NDArray[Any]:
        result: NDArray[Any] = function(*operands)
        return result

    return compute


def _of_mil(function: Callable[[Arguments], NDArray[Any]], *names: str) -> CoreAIKernel:
    """Return the kernel that Core ML's evaluator has for the same op; `names` are its names of the operands."""

    def compute(_op: CoreAIOp, *operands: NDArray[Any]) -> NDArray[Any]:
        return function(Arguments(values={name: (value,) for name, value in zip(names, operands, strict=True)}))

    return compute


def _integers(array: NDArray[Any]) -> tuple[int, ...]:
    return tuple(int(number) for number in array.reshape(-1))


def _cast(op: CoreAIOp, x: NDArray[Any]) -> NDArray[Any]:
    return x.astype(element_dtype(op.types[0].element))


def _transpose(_op: CoreAIOp, x: NDArray[Any], permutation: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(x.transpose(_integers(permutation)))


def _reshape(_op: CoreAIOp, x: NDArray[Any], shape: NDArray[Any]) -> NDArray[Any]:
    return x.reshape(_integers(shape))


def _expand(_op: CoreAIOp, x: NDArray[Any], axes: NDArray[Any]) -> NDArray[Any]:
    return np.expand_dims(x, _integers(axes))


def _shrink(_op: CoreAIOp, x: NDArray[Any], axes: NDArray[Any]) -> NDArray[Any]:
    return np.squeeze(x, _integers(axes))


def _broadcast(_op: CoreAIOp, x: NDArray[Any], shape: NDArray[Any]) -> NDArray[Any]:
    return np.broadcast_to(x, _integers(shape))


def _concat(_op: CoreAIOp, axis: NDArray[Any], *parts: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate(parts, axis=int(axis))


def _split(_op: CoreAIOp, x: NDArray[Any], sizes: NDArray[Any], axis: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    side = x.shape[int(axis)]
    cuts = np.arange(int(sizes), side, int(sizes)) if sizes.ndim == 0 else np.cumsum(sizes.astype(int))[:-1]
    return tuple(np.split(x, cuts, axis=int(axis)))


def _slice(_op: CoreAIOp, x: NDArray[Any], start: NDArray[Any], end: NDArray[Any], step: NDArray[Any]) -> NDArray[Any]:
    taken = []
    for first, last, stride in zip(_integers(start), _integers(end), _integers(step), strict=True):
        # numpy reads -1 as the last place; an end before the first place of a backward slice is None there.
        taken.append(slice(first, None if stride < 0 and last < 0 else last, stride))
    return np.ascontiguousarray(x[tuple(taken)])


def _pad(op: CoreAIOp, x: NDArray[Any], padding: NDArray[Any], value: NDArray[Any]) -> NDArray[Any]:
    numbers = _integers(padding)
    pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
    found = _PADDING.search(op.attributes)
    mode = found[1] if found else "constant"
    if mode == "constant":
        return np.pad(x, pairs, constant_values=value.reshape(()))
    if mode not in _PADDING_MODES:
        raise UnsupportedError(f'Line {op.line} of the Core AI program: padding mode "{mode}" is not known.')
    padded: NDArray[Any] = np.pad(x, pairs, mode=_PADDING_MODES[mode])  # type: ignore[call-overload]
    return padded


def _convolve_transposed(op: CoreAIOp, *operands: NDArray[Any]) -> NDArray[Any]:
    x, weight, stride, padding, dilation, _, groups = operands
    # The output's padding chooses among the sizes that the declared type already names.
    if None in op.types[0].shape:
        raise UnsupportedError(f"Line {op.line} of the Core AI program: a transposed convolution of unknown size.")
    values: dict[str, tuple[Value, ...]] = {
        "x": (x,), "weight": (weight,), "strides": (stride,), "dilations": (dilation,), "groups": (groups,),
        "pad_type": ("custom",), "pad": (np.repeat(padding, 2),), "output_shape": (np.array(op.types[0].shape),),
    }  # fmt: skip
    return windows.convolve_transposed(Arguments(values=values))


def _sum_pool(
    _op: CoreAIOp, x: NDArray[Any], kernel: NDArray[Any], stride: NDArray[Any], dilation: NDArray[Any]
) -> NDArray[Any]:
    return windows.reduce_windows(x, _pair(kernel), _pair(stride), np.add, dilations=_pair(dilation))


def _max_pool(op: CoreAIOp, x: NDArray[Any], *window: NDArray[Any]) -> NDArray[Any]:
    kernel, stride, dilation, ceil_mode = window
    if ceil_mode:
        raise UnsupportedError(f"Line {op.line} of the Core AI program: a pool with ceil_mode is not known.")
    return windows.reduce_windows(x, _pair(kernel), _pair(stride), np.maximum, dilations=_pair(dilation))


def _pair(array: NDArray[Any]) -> tuple[int, int]:
    first, second = _integers(array)
    return first, second


def _interpolate(
    op: CoreAIOp, x: NDArray[Any], shape: NDArray[Any], scale: NDArray[Any], offset: NDArray[Any]
) -> NDArray[Any]:
    """Return x resized: place i reads the place (i + 0.5 - offset) / scale - 0.5, cut off at the borders."""
    nearest = "nearest_neighbor" in op.attributes
    for axis, count in enumerate(_integers(shape)):
        side, factor, shift = x.shape[axis], float(scale[axis]), float(offset[axis])
        if side == count and factor == 1.0 and shift == 0.0:
            continue
        places = (np.arange(count) + 0.5 - shift) / factor - 0.5
        if nearest:
            x = x.take(np.clip(np.rint(places).astype(int), 0, side - 1), axis=axis)
            continue
        resized = np.tensordot(linear_weights(places, side), x, axes=([1], [axis]))
        x = np.ascontiguousarray(np.moveaxis(resized, 0, axis))
    return x


def _softmax(_op: CoreAIOp, x: NDArray[Any], axis: NDArray[Any]) -> NDArray[Any]:
    return elementwise.softmax_over_axis(Arguments(values={"x": (x,), "axis": (axis,)}))


def _argmax(_op: CoreAIOp, x: NDArray[Any], axis: NDArray[Any]) -> NDArray[Any]:
    places: NDArray[Any] = np.argmax(x, axis=int(axis), keepdims=True).astype(np.uint32)
    return places


def _reduced(function: Callable[..., Any]) -> CoreAIKernel:
    def compute(_op: CoreAIOp, x: NDArray[Any], axes: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(function(x, axis=_integers(axes), keepdims=True), x.dtype)

    return compute


def _gelu(op: CoreAIOp, x: NDArray[Any]) -> NDArray[Any]:
    mode = next((mode for mode in ("TANH", "SIGMOID") if f'"{mode.lower()}"' in op.attributes), "")
    return elementwise.gelu(Arguments(values={"x": (x,), **({"mode": (f"{mode}_APPROXIMATION",)} if mode else {})}))


def _shape(_op: CoreAIOp, x: NDArray[Any]) -> NDArray[Any]:
    return np.array(x.shape, np.uint32)


_TWO: dict[str, Callable[..., Any]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "divide": np.divide, "maximum": np.maximum,
    "minimum": np.minimum, "pow": np.power, "equal": np.equal, "not_equal": np.not_equal, "greater": np.greater,
    "and": np.logical_and, "or": np.logical_or, "where": np.where, "floor_divide": np.floor_divide,
    "batch_matmul": np.matmul,
}  # fmt: skip
_ONE: dict[str, Callable[..., Any]] = {
    "abs": np.abs, "exp": np.exp, "log": np.log, "sqrt": np.sqrt, "tanh": np.tanh, "not": np.logical_not,
    "round": np.rint,
}  # fmt: skip
COREAI_KERNELS: dict[str, CoreAIKernel] = {
    **{name: _of_numpy(function) for name, function in (_TWO | _ONE).items()},
    **{f"decomposable.broadcasting_{name}": _of_numpy(function) for name, function in _TWO.items()},
    "argmax": _argmax,
    "broadcast_to": _broadcast,
    "cast": _cast,
    "concat": _concat,
    "conv2d": _of_mil(windows.convolve, "x", "weight", "strides", "dilations", "groups"),
    "conv_transpose2d": _convolve_transposed,
    "erf": _of_numpy(elementwise.error_function),
    "expand_dims": _expand,
    "gelu": _gelu,
    "get_shape": _shape,
    "interpolate": _interpolate,
    "max_pool_2d": _max_pool,
    "pad": _pad,
    "reduce_max": _reduced(np.max),
    "reduce_mean": _reduced(np.mean),
    "reduce_min": _reduced(np.min),
    "reduce_sum": _reduced(np.sum),
    "relu": _of_mil(elementwise.relu, "x"),
    "reshape": _reshape,
    "rsqrt": _of_numpy(lambda x: 1 / np.sqrt(x)),
    "shrink_dims": _shrink,
    "sigmoid": _of_mil(elementwise.sigmoid, "x"),
    "silu": _of_mil(elementwise.silu, "x"),
    "slice": _slice,
    "softmax": _softmax,
    "split": _split,
    "sum_pool_2d": _sum_pool,
    "transpose": _transpose,
}
