"""Ops between real numbers and 8-bit ones, and weights stored as such."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeseg.runtime.engines.mil.precision import to_half

if TYPE_CHECKING:
    from edgeseg.runtime.engines.mil.arguments import Arguments


def quantize(given: Arguments) -> np.ndarray:
    """Return round(x / scale) + zero point, clipped to int8 or uint8; ties to even."""
    x = given.tensor("input")
    dtype = np.dtype(given.text("output_dtype", "int8"))
    limits = np.iinfo(dtype)
    stored = x / _along(given, "scale", x)
    np.rint(stored, out=stored)
    if given.has("zero_point"):
        stored += _along(given, "zero_point", x)
    result: np.ndarray = np.clip(stored, limits.min, limits.max, out=stored).astype(dtype)
    return result


def dequantize(given: Arguments) -> np.ndarray:
    """Return (stored - zero point) * scale, through a table of the 256 results where one scale serves the tensor."""
    stored = given.tensor("input")
    if given.tensor("scale").size > 1 or stored.dtype.itemsize > 1:
        return _real(given, stored)
    table = _real(given, np.arange(256, dtype=np.uint8).view(stored.dtype))
    return np.take(to_half(table) if given.half else table, stored.view(np.uint8))


def affine_weights(given: Arguments) -> np.ndarray:
    """Return (quantized data - zero point) * scale."""
    data = given.tensor("quantized_data")
    shifted = data.astype(np.float32) - _along(given, "zero_point", data)
    result: np.ndarray = shifted * _along(given, "scale", data)
    return result


def blockwise_weights(given: Arguments) -> np.ndarray:
    """Return (data - offset) * scale, where each scale serves an equal block of the data."""
    data = given.tensor("data").astype(np.float32)
    if given.has("offset"):
        data = data - _spread(given.tensor("offset").astype(np.float32), data.shape)
    result: np.ndarray = data * _spread(given.tensor("scale"), data.shape)
    return result


def _real(given: Arguments, stored: np.ndarray) -> np.ndarray:
    real = stored.astype(np.float32)
    if given.has("zero_point"):
        real -= _along(given, "zero_point", stored)
    real *= _along(given, "scale", stored)
    return real


def _along(given: Arguments, name: str, like: np.ndarray) -> np.ndarray:
    """Return a scale or zero point as float32, shaped to stand along its axis of `like`."""
    values = given.tensor(name).astype(np.float32)
    if values.size == 1:
        return values.reshape(())
    shape = [1] * like.ndim
    shape[given.integer("axis", 0)] = values.size
    return values.reshape(shape)


def _spread(blocks: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    for axis, side in enumerate(shape):
        blocks = np.repeat(blocks, side // blocks.shape[axis], axis=axis)
    return blocks
