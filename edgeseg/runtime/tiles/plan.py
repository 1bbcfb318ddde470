"""Where the tiles of an image lie, and each one's weight in each cell of the common grid.

All views of an image (tiles, scales, flips) are averaged on one grid of cells, that of the net's own output, so that
full-size probabilities are never made. Along each axis the weights of a view's tiles add up to one, hence the sum over
all views is already the mean.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise, product
from typing import TYPE_CHECKING, Literal

import numpy as np

from edgeseg.errors import InputError
from edgeseg.pixels import place

if TYPE_CHECKING:
    from edgeseg.core.spec import Preprocess

LEAST_WEIGHT = 1e-6
"""Of a tile's outermost cells, so that a cell that only one tile covers still has a weight to divide by."""
MOST_OVERLAP = 0.9
SCALES = (0.25, 4.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiling:
    """How an image is cut into tiles and which views are averaged.

    `tile` is (height, width) in image pixels, "auto" for the net's input size, or "off" for the whole image resized
    to the input, as the camera loop does. `overlap` is the share of a tile that its neighbour covers too; `flip` adds
    the mirrored image and `scales` the image at other sizes, all weighted equally (test-time augmentation).
    """

    tile: tuple[int, int] | Literal["auto", "off"] = "off"
    overlap: float = 0.25
    flip: bool = False
    scales: tuple[float, ...] = (1.0,)

    def check(self) -> None:
        """Raise `InputError` for an invalid overlap, scale or tile."""
        if not 0 <= self.overlap <= MOST_OVERLAP:
            raise InputError(f"overlap is {self.overlap:g}; give a share of the tile from 0 to {MOST_OVERLAP}.")
        low, high = SCALES
        for scale in self.scales:
            if not low <= scale <= high:
                raise InputError(f"scale {scale:g} is outside {low:g} to {high:g}: 0.75/1/1.25 are usual.")
        if not self.scales or len(set(self.scales)) != len(self.scales):
            raise InputError(f"scales are {self.scales}; give at least one, and each once.")
        if isinstance(self.tile, tuple) and min(self.tile) < 1:
            raise InputError(f"tile is {self.tile[0]}x{self.tile[1]} pixels; both sides must be at least 1.")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Axis:
    """The common grid along one axis: cell c covers image pixels from `origin_px + c * cell_px`."""

    cells: int
    cell_px: float
    origin_px: float = 0.0

    def centres(self) -> np.ndarray:
        """Return the cells' centres in image pixels, (cells,) float64."""
        return self.origin_px + (np.arange(self.cells) + 0.5) * self.cell_px


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TileSpan:
    """A tile along one axis.

    It covers `extent_px` image pixels from `start_px` and the grid cells from `first`, each with a weight (n,).
    `resample` is the matrix (n, cells of the output) from its own cells to the grid's; None where they are the same.
    """

    start_px: int
    extent_px: int
    first: int
    weights: np.ndarray
    resample: np.ndarray | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tile:
    """One run of the net; `whole` where the net's own preprocessing of the whole image is what it takes."""

    rows: TileSpan
    columns: TileSpan
    flip: bool
    whole: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TilePlan:
    """All tiles of an image, the topmost ones first.

    `tile_px` is a tile's (height, width) at scale 1, `seams_px` the rows and the columns where one tile's weight
    overtakes the last one's: pixel s - 1 belongs to one tile, pixel s to the next.
    """

    rows: _Axis
    columns: _Axis
    tiles: tuple[Tile, ...]
    tile_px: tuple[int, int]
    seams_px: tuple[tuple[int, ...], tuple[int, ...]]
    whole: bool


def make_plan(
    size: tuple[int, int],
    *,
    tiling: Tiling,
    input_size: tuple[int, int],
    cells: tuple[int, int],
    preprocess: Preprocess,
) -> TilePlan:
    """Return the tiles of an image of `size` for a net from `input_size` pixels to `cells`, (height, width) each.

    A tile is enlarged to a whole number of pixels a cell. Raises `InputError` as `Tiling.check` does.
    """
    tiling.check()
    tile_px = _tile_px(tiling, input_size=input_size, cells=cells, preprocess=preprocess)
    whole = tile_px is None or (size[0] <= tile_px[0] and size[1] <= tile_px[1])
    if tile_px is None or whole:
        grid = _grid_of_the_input(size, input_size=input_size, cells=cells, preprocess=preprocess)
        tile_px = (round(grid[0].cells * grid[0].cell_px), round(grid[1].cells * grid[1].cell_px))
    else:
        steps = [tile // count for tile, count in zip(tile_px, cells, strict=True)]
        grid = tuple(_Axis(cells=math.ceil(side / step), cell_px=step) for side, step in zip(size, steps, strict=True))
    tiles: list[Tile] = []
    seams: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
    for scale in tiling.scales:
        rows, columns = (
            _strips(axis, count, scale=scale, overlap=tiling.overlap) for axis, count in zip(grid, cells, strict=True)
        )
        if scale == 1:
            seams = (_seams(rows, size[0]), _seams(columns, size[1]))
        flips = (False, True) if tiling.flip else (False,)
        for row, column, flip in product(rows, columns, flips):
            tiles.append(Tile(rows=row, columns=column, flip=flip, whole=whole and scale == 1))
    tiles.sort(key=lambda tile: tile.rows.first)
    return TilePlan(rows=grid[0], columns=grid[1], tiles=tuple(tiles), tile_px=tile_px, seams_px=seams, whole=whole)


def _tile_px(
    tiling: Tiling, *, input_size: tuple[int, int], cells: tuple[int, int], preprocess: Preprocess
) -> tuple[int, int] | None:
    """Return (height, width) of a tile, a whole number of pixels a cell; None where the image is not to be cut."""
    if tiling.tile == "off":
        return None
    wanted = input_size if tiling.tile == "auto" else tiling.tile
    steps = [max(1, math.ceil(side / count)) for side, count in zip(wanted, cells, strict=True)]
    if preprocess.resize == "letterbox":
        # A tile of other proportions than the input's would be letterboxed itself, with grey between the tiles.
        steps = [max(steps)] * 2
    return steps[0] * cells[0], steps[1] * cells[1]


def _grid_of_the_input(
    size: tuple[int, int], *, input_size: tuple[int, int], cells: tuple[int, int], preprocess: Preprocess
) -> tuple[_Axis, ...]:
    """Return the grid of the net's output over the whole image, and over the grey beside a letterboxed one."""
    where = place(size, input_size=input_size, preprocess=preprocess)
    shares = (size[0] / where.height, size[1] / where.width)
    return tuple(
        _Axis(cells=count, cell_px=total / count * share, origin_px=-offset * share)
        for count, total, share, offset in zip(cells, input_size, shares, (where.top, where.left), strict=True)
    )


def _strips(axis: _Axis, cells: int, *, scale: float, overlap: float) -> list[TileSpan]:
    """Return the tiles of one scale along an axis, their weights adding up to one in each cell."""
    extent = cells * axis.cell_px / scale
    aligned = scale == 1
    room = axis.cells * axis.cell_px - extent
    if aligned:
        step = max(1, round(cells * (1 - overlap))) * axis.cell_px
        starts = [0.0]
    else:
        step = max(1.0, extent * (1 - overlap))
        # A tile that is larger than the image is padded with the image's reflection, equally on both sides.
        starts = [min(0.0, room / 2)]
    while starts[-1] < room - 1e-6:
        starts.append(min(starts[-1] + step, room))
    pieces = [_strip(axis, axis.origin_px + start, extent, cells, aligned=aligned) for start in starts]
    total = np.zeros(axis.cells)
    for piece in pieces:
        total[piece.first : piece.first + len(piece.weights)] += piece.weights
    return [
        replace(piece, weights=(piece.weights / total[piece.first :][: len(piece.weights)]).astype(np.float32))
        for piece in pieces
    ]


def _strip(axis: _Axis, start: float, extent: float, cells: int, *, aligned: bool) -> TileSpan:
    """Return a tile along an axis with the weights of a Hann window, not normalised yet."""
    start_px, extent_px = round(start), max(1, round(extent))
    inside = (axis.centres() - start) / extent
    # Half a pixel of tolerance: the tile's edges were rounded to pixels.
    covered = np.flatnonzero((inside > -0.5 / extent) & (inside < 1 + 0.5 / extent))
    inside = np.clip(inside[covered], 0, 1)
    return TileSpan(
        start_px=start_px,
        extent_px=extent_px,
        first=int(covered[0]),
        weights=np.maximum(np.sin(np.pi * inside) ** 2, LEAST_WEIGHT),
        resample=None if aligned else _bilinear(inside * cells - 0.5, cells),
    )


def _bilinear(positions: np.ndarray, cells: int) -> np.ndarray:
    """Return the matrix (n, cells) float32 that reads a line of `cells` values at `positions`, clamped at its ends."""
    positions = np.clip(positions, 0, cells - 1)
    low = np.minimum(np.floor(positions).astype(int), max(0, cells - 2))
    matrix = np.zeros((len(positions), cells), np.float32)
    rows = np.arange(len(positions))
    matrix[rows, low] = 1 - (positions - low)
    matrix[rows, np.minimum(low + 1, cells - 1)] += positions - low
    return matrix


def _seams(strips: list[TileSpan], side: int) -> tuple[int, ...]:
    middles = [(one.start_px + one.extent_px + two.start_px) // 2 for one, two in pairwise(strips)]
    return tuple(sorted({middle for middle in middles if 0 < middle < side}))
