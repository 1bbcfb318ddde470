"""Logits at the head's own resolution to the label map at the picture's size, exactly and without full-size logits.

Bilinear upsampling gives convex combinations of four neighbouring cells. Where the four share their best class, that
class wins at every pixel between them, so only pixels in mixed cells need interpolated logits. The result is that of
`argmax(upsample(logits))`; ties and rounding in the last bit aside.
"""

from __future__ import annotations

import numpy as np

from edgeseg.core.spec import Preprocess, TensorSpec
from edgeseg.pixels.geometry import Axis, axis, place


def decode(
    output: np.ndarray,
    *,
    tensor: TensorSpec,
    preprocess: Preprocess,
    input_size: tuple[int, int],
    size: tuple[int, int],
) -> np.ndarray:
    """Return class ids, (H, W) uint8 at the picture's `size`, from an engine's output as it gave it.

    `output` is (1, C, h, w) or (1, h, w, C) logits, float or quantized (per-tensor quantization keeps their order), or
    (1, h, w) labels, as `tensor` says. `input_size` is the input's (height, width); letterboxing is undone.
    """
    where = place(size, input_size=input_size, preprocess=preprocess)
    height, width = tensor.size
    rows = axis(size[0], height, where.top, where.height, input_size[0])
    columns = axis(size[1], width, where.left, where.width, input_size[1])
    if tensor.role == "labels":
        return output[0].astype(np.uint8).take(rows.nearest, axis=0).take(columns.nearest, axis=1)
    planes = output[0] if tensor.layout == "NCHW" else output[0].transpose(2, 0, 1)
    return _upsampled_argmax(np.ascontiguousarray(planes, dtype=np.float32), rows, columns)


def _upsampled_argmax(planes: np.ndarray, rows: Axis, columns: Axis) -> np.ndarray:
    """Return (H, W) uint8 from float32 logit planes (C, h, w)."""
    coarse = _best_plane(planes)
    labels = coarse.take(rows.low, axis=0).take(columns.low, axis=1)
    mixed = _mixed_cells(coarse).take(rows.low, axis=0).take(columns.low, axis=1)
    pixels = np.flatnonzero(mixed)
    if pixels.size:
        y, x = np.divmod(pixels, labels.shape[1])
        labels.reshape(-1)[pixels] = _interpolated_argmax(planes, rows, columns, y, x)
    return labels


def _mixed_cells(coarse: np.ndarray) -> np.ndarray:
    """Return (h, w) bool: whether a cell, its right, lower and lower right neighbours differ in class."""
    mixed = np.zeros(coarse.shape, dtype=bool)
    mixed[:, :-1] = coarse[:, :-1] != coarse[:, 1:]
    mixed[:-1] |= coarse[:-1] != coarse[1:]
    # The diagonal neighbour: covered by the right neighbour's own lower one, and by the lower one's right one.
    mixed[:-1, :-1] |= coarse[:-1, :-1] != coarse[1:, 1:]
    return mixed


def _interpolated_argmax(planes: np.ndarray, rows: Axis, columns: Axis, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return (n,) uint8: the best class at the pixels (y, x) after bilinear interpolation of each plane."""
    flat = planes.reshape(len(planes), -1)
    width = planes.shape[2]
    top, bottom = rows.low.take(y) * width, rows.high.take(y) * width
    left, right = columns.low.take(x), columns.high.take(x)
    down, across = rows.weight.take(y), columns.weight.take(x)
    corners = (top + left, top + right, bottom + left, bottom + right)
    weights = ((1 - down) * (1 - across), (1 - down) * across, down * (1 - across), down * across)
    values = flat.take(corners[0], axis=1) * weights[0]
    for corner, weight in zip(corners[1:], weights[1:], strict=True):
        values += flat.take(corner, axis=1) * weight
    return _best_plane(values)


def _best_plane(planes: np.ndarray) -> np.ndarray:
    """Return the index of the largest plane, uint8, first one on ties; planes (C, ...).

    A running maximum over whole planes: numpy's own argmax over a short strided axis takes ten times as long.
    """
    best = planes[0].copy()
    index = np.zeros(best.shape, dtype=np.uint8)
    for i in range(1, len(planes)):
        better = planes[i] > best
        np.copyto(index, np.uint8(i), where=better)
        np.maximum(best, planes[i], out=best)
    return index
