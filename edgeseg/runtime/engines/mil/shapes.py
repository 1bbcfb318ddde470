"""Ops that move, join, reduce, multiply and resize whole tensors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from edgeseg.runtime.engines.mil.arguments import Arguments

MIL_CASTS = {"fp16": "float32", "fp32": "float32", "int32": "int32", "bool": "bool", "int8": "int8", "uint8": "uint8"}


def cast(given: Arguments) -> np.ndarray:
    """Return x as another type; halves stay float32 here and are rounded afterwards."""
    kind = given.text("dtype", "fp32")
    return given.tensor("x").astype(MIL_CASTS.get(kind, kind))


def transpose(given: Arguments) -> np.ndarray:
    """Return x with its axes in the order of perm."""
    return np.ascontiguousarray(given.tensor("x").transpose(given.integers("perm", ())))


def reshape(given: Arguments) -> np.ndarray:
    """Return x in another shape; 0 keeps an axis, -1 takes what is left."""
    x = given.tensor("x")
    shape = [x.shape[axis] if side == 0 else side for axis, side in enumerate(given.integers("shape", ()))]
    return x.reshape(shape)


def expand_dims(given: Arguments) -> np.ndarray:
    """Return x with axes of length 1 put in."""
    return np.expand_dims(given.tensor("x"), given.integers("axes", ()))


def squeeze(given: Arguments) -> np.ndarray:
    """Return x without its axes of length 1, or without the ones given."""
    return np.squeeze(given.tensor("x"), given.integers("axes", ()) if given.has("axes") else None)


def concatenate(given: Arguments) -> np.ndarray:
    """Return the tensors joined along one axis."""
    return np.concatenate(given.tensors("values"), axis=given.integer("axis", 0))


def reduce_mean(given: Arguments) -> np.ndarray:
    """Return the mean over axes, all of them where none is named."""
    axes = given.integers("axes", ()) or None
    mean = np.mean(given.tensor("x"), axis=axes, keepdims=given.flag("keep_dims", False), dtype=np.float32)
    return np.asarray(mean)


def reduce_sum(given: Arguments) -> np.ndarray:
    """Return the sum over axes, all of them where none is named."""
    axes = given.integers("axes", ()) or None
    return np.asarray(np.sum(given.tensor("x"), axis=axes, keepdims=given.flag("keep_dims", False), dtype=np.float32))


def reduce_max(given: Arguments) -> np.ndarray:
    """Return the largest value over axes, all of them where none is named."""
    axes = given.integers("axes", ()) or None
    return np.asarray(np.max(given.tensor("x"), axis=axes, keepdims=given.flag("keep_dims", False)))


def slice_by_index(given: Arguments) -> np.ndarray:
    """Return x from begin to end by stride on each axis; a mask takes an end of the axis, or one place and no axis."""
    x = given.tensor("x")
    begin, end = given.integers("begin", ()), given.integers("end", ())
    stride = given.integers("stride", (1,) * x.ndim)
    masks = [given.integers(name, (0,) * x.ndim) for name in ("begin_mask", "end_mask", "squeeze_mask")]
    taken: list[slice | int] = []
    for axis in range(x.ndim):
        from_start, to_end, single = (bool(mask[axis]) for mask in masks)
        if single:
            taken.append(begin[axis])
        else:
            taken.append(slice(None if from_start else begin[axis], None if to_end else end[axis], stride[axis]))
    return np.ascontiguousarray(x[tuple(taken)])


def pad(given: Arguments) -> np.ndarray:
    """Return x with its last axes padded: by a value, by reflection, or by the border's own values."""
    x, numbers = given.tensor("x"), given.integers("pad", ())
    pairs = [(0, 0)] * (x.ndim - len(numbers) // 2) + list(zip(numbers[::2], numbers[1::2], strict=True))
    mode = given.text("mode", "constant")
    if mode == "constant":
        return np.pad(x, pairs, constant_values=given.number("constant_val", 0.0))
    return np.pad(x, pairs, mode="reflect" if mode == "reflect" else "edge")


def upsample_nearest(given: Arguments) -> np.ndarray:
    """Return x (..., H, W) with rows and columns repeated by constant factors."""
    x = given.tensor("x")
    for axis, name in ((-2, "scale_factor_height"), (-1, "scale_factor_width")):
        factor, side = given.number(name, 1.0), x.shape[axis]
        places = np.floor(np.arange(math.floor(side * factor + 1e-4)) / factor + 1e-6).astype(int)
        x = x.take(np.minimum(places, side - 1), axis=axis)
    return x


def reduce_argmax(given: Arguments) -> np.ndarray:
    """Return where x is largest along an axis, int32; the first of equals."""
    x = given.tensor("x")
    where = np.argmax(x, axis=given.integer("axis", -1), keepdims=given.flag("keep_dims", True))
    result: np.ndarray = where.astype(np.int32)
    return result


def linear(given: Arguments) -> np.ndarray:
    """Return x @ weight.T + bias, weight (O, I)."""
    y = given.tensor("x") @ given.tensor("weight").T
    result: np.ndarray = y + given.tensor("bias") if given.has("bias") else y
    return result


def matrix_product(given: Arguments) -> np.ndarray:
    """Return x @ y, with the last two axes of either swapped on request."""
    x, y = given.tensor("x"), given.tensor("y")
    x = np.swapaxes(x, -1, -2) if given.flag("transpose_x", False) else x
    y = np.swapaxes(y, -1, -2) if given.flag("transpose_y", False) else y
    result: np.ndarray = np.matmul(x, y)
    return result


def upsample_bilinear(given: Arguments) -> np.ndarray:
    """Return x (..., H, W) resized by constant factors, rows and columns each by one matrix product."""
    x = given.tensor("x")
    corners = given.flag("align_corners", False)
    centres = given.flag("half_pixel_centers", not corners)
    rows = _bilinear(x.shape[-2], given.number("scale_factor_height", 1.0), corners=corners, centres=centres)
    columns = _bilinear(x.shape[-1], given.number("scale_factor_width", 1.0), corners=corners, centres=centres)
    result: np.ndarray = np.matmul(rows, np.matmul(x, columns.T))
    return result


def _bilinear(side: int, factor: float, *, corners: bool, centres: bool) -> np.ndarray:
    """Return the interpolation matrix (floor(side * factor), side)."""
    # Factors are stored as float32: 11/3 comes back a little small, and 11 cells would become 10.
    count = math.floor(side * factor + 1e-4)
    places = np.arange(count, dtype=np.float64)
    if corners:
        places *= (side - 1) / max(1, count - 1)
    elif centres:
        places = (places + 0.5) / factor - 0.5
    else:
        places /= factor
    return linear_weights(places, side)


def linear_weights(places: np.ndarray, side: int) -> np.ndarray:
    """Return the matrix (len(places), side) that reads a line of values at fractional places, cut off at its ends."""
    places = np.clip(places, 0, side - 1)
    row = np.arange(len(places))
    low = np.minimum(places.astype(int), max(0, side - 2))
    matrix = np.zeros((len(places), side), np.float32)
    matrix[row, low] = 1.0 - (places - low)
    matrix[row, np.minimum(low + 1, side - 1)] += places - low
    return matrix
