"""Low-resolution logits to a label map at the image's size, exactly and without full-size logits.

Bilinear upsampling gives convex combinations of four neighbouring cells. Where the four have the same best class, that
class wins at every pixel between them, so only the gaps between cells of different classes need interpolated logits,
and most of those only the difference of two classes. The result equals `argmax(upsample(logits))` except for ties and
rounding in the last bit.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeseg.pixels.geometry import Axis, axis, place

if TYPE_CHECKING:
    from edgeseg.core.spec import Preprocess, TensorSpec

_memory = threading.local()


def decode(
    output: NDArray[Any],
    *,
    tensor: TensorSpec,
    preprocess: Preprocess,
    input_size: tuple[int, int],
    size: tuple[int, int],
) -> NDArray[np.uint8]:
    """Return class ids, (H, W) uint8 at the image's `size`, from an engine's raw output.

    `output` holds logits (1, C, h, w) or (1, h, w, C), float or quantized (per-tensor quantization keeps their order),
    or labels (1, h, w), as described by `tensor`. `input_size` is the input's (height, width); letterboxing is undone.
    """
    where = place(size, input_size=input_size, preprocess=preprocess)
    height, width = tensor.size
    rows = axis(size[0], height, where.top, where.height, input_size[0])
    columns = axis(size[1], width, where.left, where.width, input_size[1])
    if tensor.role == "labels":
        result: NDArray[np.uint8] = output[0].astype(np.uint8).take(columns.nearest, axis=1).take(rows.nearest, axis=0)
        return result
    return _upsampled_argmax(cells_of(output, tensor=tensor), grid=(height, width), rows=rows, columns=columns)


def cells_of(output: NDArray[Any], *, tensor: TensorSpec) -> NDArray[Any]:
    """Return the logits of an output (1, C, h, w) or (1, h, w, C) as (h * w, C); NHWC outputs are not copied."""
    if tensor.layout == "NCHW":
        return np.ascontiguousarray(output[0].reshape(output.shape[1], -1).T)
    result: NDArray[Any] = output[0].reshape(-1, output.shape[3])
    return result


@dataclass(frozen=True, slots=True)
class _Gaps:
    """The n gaps that need interpolation.

    `corners` (4, n, C) holds the logits at the upper left, upper right, lower left and lower right, `winners` (4, n)
    the best classes there, and `across` (l, n) and `down` (k, n) the pixels' interpolation weights.
    """

    corners: NDArray[Any]
    winners: NDArray[np.uint8]
    across: NDArray[np.float32]
    down: NDArray[np.float32]


def _upsampled_argmax(cells: NDArray[Any], *, grid: tuple[int, int], rows: Axis, columns: Axis) -> NDArray[np.uint8]:
    """Return (H, W) uint8 from logits (h * w, C) of cells on a `grid` (h, w)."""
    coarse = cells.argmax(axis=1).astype(np.uint8).reshape(grid)
    # Columns first: the second copy then moves whole rows.
    wide = coarse.take(columns.nearest, axis=1)
    # Rows below the image take what the windows of the last gaps extend beyond it; nothing is copied at the end.
    canvas = np.empty((len(rows.nearest) + len(rows.weights), len(columns.nearest)), np.uint8)
    labels = canvas[: len(rows.nearest)]
    wide.take(rows.nearest, axis=0, out=labels, mode="clip")  # "clip" writes to `out` itself, the default to a copy
    around = coarse.take(columns.around, axis=1).take(rows.around, axis=0)
    y, x = np.nonzero(_mixed(around) & rows.has_pixels[:, None] & columns.has_pixels)
    if y.size == 0:
        return labels
    upper, lower = rows.around[y] * grid[1], rows.around[y + 1] * grid[1]
    left, right = columns.around[x], columns.around[x + 1]
    places = np.stack([upper + left, upper + right, lower + left, lower + right])
    gaps = _Gaps(
        corners=cells.take(places, axis=0).astype(np.float32, copy=False),
        winners=coarse.reshape(-1).take(places),
        across=columns.weights.take(x, axis=1),
        down=rows.weights.take(y, axis=1),
    )
    _paste(canvas, _best(gaps), top=rows.starts.take(y), left=columns.starts.take(x))
    return labels


def _mixed(around: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return (h + 1, w + 1) bool: whether the classes at the four corners of a gap differ."""
    first = around[:-1, :-1]
    mixed: NDArray[np.bool_] = first != around[:-1, 1:]
    mixed |= first != around[1:, :-1]
    mixed |= first != around[1:, 1:]
    return mixed


def _best(gaps: _Gaps) -> NDArray[np.uint8]:
    """Return (k, l, n) uint8: the best class at each pixel of the gaps."""
    low, high = gaps.winners.min(axis=0), gaps.winners.max(axis=0)
    first, second = _of_class(gaps.corners, low), _of_class(gaps.corners, high)
    lead = first - second
    shape = (len(gaps.down), *gaps.across.shape)
    behind = _interpolated(lead, gaps, out=_scratch("lead", shape, np.float32)) < 0
    best = behind.view(np.uint8)
    best *= low ^ high
    best ^= low
    others = _others(gaps.corners, first, second, low, high)
    more = np.nonzero(others.any(axis=1))[0]
    if more.size:
        others[np.arange(len(low)), low] = others[np.arange(len(low)), high] = True
        some = _Gaps(
            corners=gaps.corners.take(more, axis=1),
            winners=gaps.winners.take(more, axis=1),
            across=gaps.across.take(more, axis=1),
            down=gaps.down.take(more, axis=1),
        )
        best[:, :, more] = _best_of_many(some, others[more])
    return best


def _others(
    corners: NDArray[Any],
    first: NDArray[Any],
    second: NDArray[Any],
    low: NDArray[np.uint8],
    high: NDArray[np.uint8],
) -> NDArray[np.bool_]:
    """Return (n, C) bool: which classes besides `low` and `high`, with logits `first` and `second`, may win in a gap.

    A class cannot win if it is everywhere below the worst corner of one of the two, nor if some mixture
    t * first + (1 - t) * second, 0 <= t <= 1, is above it at all four corners: the mixture is then above it everywhere
    in between, and the better of the two is never below the mixture.
    """
    floor = np.maximum(first.min(axis=0), second.min(axis=0))
    may: NDArray[np.bool_] = corners.max(axis=0) >= floor[:, None]
    every = np.arange(len(may))
    may[every, low] = may[every, high] = False
    gap, name = np.nonzero(may)
    lead, values = (first - second).take(gap, axis=1), corners.reshape(4, -1).take(gap * may.shape[1] + name, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (values - second.take(gap, axis=1)) / lead
    # Where both are equal, a class below them gives -inf, one above inf, and an equal one NaN.
    ahead = lead >= 0
    least = np.where(ahead, share, -np.inf).max(axis=0)
    most = np.where(ahead, np.inf, share).min(axis=0)
    # "Not below" rather than "above or equal", so that NaN rules nothing out.
    may[gap, name] = ~(np.maximum(least, 0) < np.minimum(most, 1))
    return may


def _best_of_many(gaps: _Gaps, rivals: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return (k, l, n) uint8 as `_best` does, among the classes that are True in `rivals` (n, C)."""
    upper, lower = gaps.corners.max(axis=0), gaps.corners.min(axis=0)
    # A class whose best corner is below another's worst corner cannot win anywhere in the gap.
    left = rivals & (upper >= lower.max(axis=1)[:, None])
    every = np.arange(len(left))
    best, labels = np.empty(0), np.empty(0, np.uint8)
    for turn in range(int(left.sum(axis=1).max())):
        # In class order, so that the first one wins a tie. A gap with no class left gets class 0, which has already
        # lost or cannot win.
        chosen = left.argmax(axis=1)
        left[every, chosen] = False
        values = _interpolated(_of_class(gaps.corners, chosen), gaps)
        if turn == 0:
            best, labels = values, np.empty(values.shape, np.uint8)
            labels[:] = chosen
            continue
        np.copyto(labels, chosen.astype(np.uint8), where=values > best)
        np.maximum(best, values, out=best)
    return labels


def _of_class(corners: NDArray[Any], chosen: NDArray[Any]) -> NDArray[Any]:
    """Return (4, n): the logits of each gap's chosen class at its corners."""
    count, classes = corners.shape[1:]
    result: NDArray[Any] = corners.reshape(4, -1).take(np.arange(count) * classes + chosen, axis=1)
    return result


def _interpolated(values: NDArray[Any], gaps: _Gaps, *, out: NDArray[Any] | None = None) -> NDArray[Any]:
    """Return values (k, l, n) interpolated between the corners (4, n), for all gaps at once."""
    upper = values[0] + (values[1] - values[0]) * gaps.across
    lower = values[2] + (values[3] - values[2]) * gaps.across
    lower -= upper
    between: NDArray[Any] = np.multiply(lower, gaps.down[:, None], out=out)
    between += upper
    return between


def _paste(
    canvas: NDArray[np.uint8], best: NDArray[np.uint8], *, top: NDArray[np.intp], left: NDArray[np.intp]
) -> None:
    """Paste each gap's labels, `best` (k, l, n), into the canvas as a window of k rows of l bytes, cut at the right.

    The window of a gap with fewer pixels extends into the next gaps, with weight 1: a neighbouring gap of one class
    gets exactly that class, and other neighbours are pasted later, since windows are pasted in row order.
    """
    rows, long, count = best.shape
    width = canvas.shape[1]
    strips = np.ascontiguousarray(best.reshape(rows * long, count).T).reshape(count, rows, long)
    room = np.minimum(width - left, long)
    for wide in sorted({long, *room[room < long].tolist()}, reverse=True):
        some = np.flatnonzero(room == wide)
        cut = strips if some.size == count else np.ascontiguousarray(strips.take(some, axis=0)[:, :, :wide])
        kind = f"V{wide}"
        windows: NDArray[Any] = np.ndarray(canvas.size - wide + 1, dtype=kind, buffer=canvas.data, strides=(1,))
        places = top.take(some)[:, None] + np.arange(rows)
        places *= width
        places += left.take(some)[:, None]
        windows[places] = cut.view(kind)[:, :, 0]


def _scratch(name: str, shape: tuple[int, ...], dtype: type[np.generic]) -> NDArray[Any]:
    """Return memory that this thread reuses: fresh pages from the system cost as much as the work itself."""
    count = math.prod(shape)
    flat = getattr(_memory, name, None)
    if flat is None or flat.size < count:
        flat = np.empty(count, dtype)
        setattr(_memory, name, flat)
    return flat[:count].reshape(shape)
