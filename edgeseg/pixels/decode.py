"""Logits at the head's own resolution to the label map at the picture's size, exactly and without full-size logits.

Bilinear upsampling gives convex combinations of four neighbouring cells. Where the four share their best class, that
class wins at every pixel between them, so only pixels in mixed cells need interpolated logits. The result is that of
`argmax(upsample(logits))`; ties and rounding in the last bit aside.
"""

from __future__ import annotations

import numpy as np

from edgeseg.core.spec import Preprocess, TensorSpec
from edgeseg.pixels.geometry import Axis, axis, place

RIVALS = 3
"""Classes that are compared between four cells in most places; where more could win, all are."""


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
        return output[0].astype(np.uint8).take(columns.nearest, axis=1).take(rows.nearest, axis=0)
    planes = output[0] if tensor.layout == "NCHW" else output[0].transpose(2, 0, 1)
    return _upsampled_argmax(np.ascontiguousarray(planes, dtype=np.float32), rows, columns)


def _upsampled_argmax(planes: np.ndarray, rows: Axis, columns: Axis) -> np.ndarray:
    """Return (H, W) uint8 from float32 logit planes (C, h, w)."""
    coarse = _best_plane(planes)
    # Columns first: the wide copy is then one of whole rows.
    labels = coarse.take(columns.nearest, axis=1).take(rows.nearest, axis=0)
    mixed = _mixed_cells(coarse) & rows.has_members[:, None] & columns.has_members
    y, x = np.nonzero(mixed)
    if y.size == 0:
        return labels
    corners = _corners(planes, y, x)
    upper, lower = corners.max(axis=0), corners.min(axis=0)
    # A class whose best corner is below another's worst corner cannot win anywhere in the cell: few are left.
    rivals = (upper >= lower.max(axis=0)).sum(axis=0)
    few = rivals <= RIVALS
    for some, count in ((few, min(RIVALS, len(planes))), (~few, len(planes))):
        if some.any():
            best = _fill(corners[:, :, some], upper[:, some], rows.weights[y[some]], columns.weights[x[some]], count)
            labels[rows.members[y[some]][:, :, None], columns.members[x[some]][:, None, :]] = best
    return labels


def _mixed_cells(coarse: np.ndarray) -> np.ndarray:
    """Return (h, w) bool: whether the classes of a cell and its right, lower and lower right neighbours differ."""
    mixed = np.zeros(coarse.shape, dtype=bool)
    mixed[:, :-1] = coarse[:, :-1] != coarse[:, 1:]
    mixed[:-1] |= coarse[:-1] != coarse[1:]
    mixed[:-1, :-1] |= coarse[:-1, :-1] != coarse[1:, 1:]
    return mixed


def _corners(planes: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Return (4, C, n): the logits at the cells (y, x) and their right, lower and lower right neighbours."""
    flat, width = planes.reshape(len(planes), -1), planes.shape[2]
    down, right = np.minimum(y + 1, planes.shape[1] - 1), np.minimum(x + 1, width - 1)
    cells = np.stack([y * width + x, y * width + right, down * width + x, down * width + right])
    return flat.take(cells, axis=1).transpose(1, 0, 2)


def _fill(corners: np.ndarray, upper: np.ndarray, down: np.ndarray, across: np.ndarray, count: int) -> np.ndarray:
    """Return (n, k, l) uint8: the best class at each pixel between the corners (4, C, n).

    Only the `count` classes with the best corner take part, in the order of their indices, so that the first one wins
    a tie; `down` (n, k) and `across` (n, l) are the pixels' weights.
    """
    if count < len(upper):
        classes = np.sort(np.argpartition(upper, -count, axis=0)[-count:], axis=0)
        corners = np.take_along_axis(corners, classes[None], axis=1)
    else:
        classes = np.broadcast_to(np.arange(count)[:, None], upper.shape)
    first, second, third, fourth = (corner[:, :, None] for corner in corners)
    upper_row = first + (second - first) * across
    lower_row = third + (fourth - third) * across
    values = upper_row[:, :, None, :] + (lower_row - upper_row)[:, :, None, :] * down[:, :, None]
    winner = _best_plane(values)
    flat = winner.reshape(len(down), -1)
    return np.take_along_axis(classes.T.astype(np.uint8), flat, axis=1).reshape(winner.shape)


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
