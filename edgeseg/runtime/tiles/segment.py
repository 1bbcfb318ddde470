"""Images of any size through a net of one size: overlapping tiles, averaged where they overlap.

Overlap-tile: Ronneberger, Fischer and Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation", MICCAI
2015. They keep only each tile's centre; here tiles blend into each other by Hann windows on their probabilities.
Where only one tile counts, interpolating the logarithm of its probabilities equals interpolating its logits (they
differ by the same number for all classes), hence the labels are those of `Session.segment`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from edgeseg.core.progress import Progress, no_progress
from edgeseg.core.spec import Preprocess, TensorSpec
from edgeseg.pixels import check_image, decode, probabilities
from edgeseg.pixels.prepare import PAD
from edgeseg.runtime.tiles.plan import Tile, TilePlan, TileSpan, Tiling, make_plan
from edgeseg.runtime.tiles.seams import Seams, measure_seams

if TYPE_CHECKING:
    from edgeseg.runtime.session.session import Session

"""Called after each tile with the number done and the total."""
LEAST_PROBABILITY = 1e-12
STRETCHED = Preprocess(resize="stretch")


@dataclass(frozen=True, slots=True, kw_only=True)
class TiledLabels:
    """Class ids (H, W) uint8 at the image's size, and how they were made.

    `runs` is how often the net ran, `tile_px` a tile's (height, width), and `seams` how visible the tiles' borders
    are; None where the image was not cut.
    """

    labels: np.ndarray
    runs: int
    tile_px: tuple[int, int]
    seams: Seams | None


def segment_tiled(
    session: Session, image: np.ndarray, *, tiling: Tiling | None = None, on_progress: Progress | None = None
) -> TiledLabels:
    """Return the labels of an image (H, W, 3) BGR uint8, a memory-mapped one too, cut and averaged as `tiling` says.

    An image that fits one tile, without extra views, gives `session.segment(image)`. Besides the image and its labels,
    memory holds one row of tiles at the output's resolution.

    Raises:
        InputError: not an image, or an invalid tiling.
        ArtifactError: the engine fails.
    """
    check_image(image)
    tiling = tiling or Tiling()
    manifest = session.artifact.manifest
    size = (image.shape[0], image.shape[1])
    plan = make_plan(
        size,
        tiling=tiling,
        input_size=session.input.size,
        cells=session.output.size,
        preprocess=manifest.preprocess,
    )
    tell = on_progress or no_progress
    if plan.whole and len(plan.tiles) == 1 and plan.tiles[0].whole:
        labels = session.segment(image)
        tell("tiles", 1, 1)
        return TiledLabels(labels=labels, runs=1, tile_px=plan.tile_px, seams=None)
    views = len(tiling.scales) * (2 if tiling.flip else 1)
    sums = _Sums(len(manifest.spec.classes), plan=plan, views=views)
    canvas = _Canvas(size, plan=plan, session=session)
    for done, tile in enumerate(plan.tiles, start=1):
        sums.add(tile, _run(session, image, tile))
        tell("tiles", done, len(plan.tiles))
        if not plan.whole:
            canvas.paint(sums.release(plan.tiles[done].rows.first if done < len(plan.tiles) else plan.rows.cells))
    labels = canvas.labels if not plan.whole else canvas.undo(sums.release(plan.rows.cells))
    seams = None if plan.whole else _seams(labels, plan, disagreement=sums.disagreement)
    return TiledLabels(labels=labels, runs=len(plan.tiles), tile_px=plan.tile_px, seams=seams)


def _seams(labels: np.ndarray, plan: TilePlan, *, disagreement: float) -> Seams:
    cell_px = (round(plan.rows.cell_px), round(plan.columns.cell_px))
    return measure_seams(labels, seams_px=plan.seams_px, cell_px=cell_px, disagreement=disagreement)


def _run(session: Session, image: np.ndarray, tile: Tile) -> np.ndarray:
    """Return a tile's probabilities (C, h, w) float32, in the image's orientation."""
    spec = session.artifact.manifest.spec
    piece = image if tile.whole else _cut(image, tile.rows, tile.columns, mirror=spec.preprocess.resize == "stretch")
    if tile.flip:
        piece = piece[:, ::-1]
    output = session.infer(session.preprocess(np.ascontiguousarray(piece)))
    planes = probabilities(output, session.output, classes=len(spec.classes))
    return planes[:, :, ::-1] if tile.flip else planes


def _cut(image: np.ndarray, rows: TileSpan, columns: TileSpan, *, mirror: bool) -> np.ndarray:
    """Return the tile's pixels; beyond the image's borders its reflection, or grey as in letterboxing."""
    bottom, right = rows.start_px + rows.extent_px, columns.start_px + columns.extent_px
    top, left = max(0, rows.start_px), max(0, columns.start_px)
    piece = np.ascontiguousarray(image[top : min(bottom, image.shape[0]), left : min(right, image.shape[1])])
    above, left_of = top - rows.start_px, left - columns.start_px
    below, right_of = max(0, bottom - image.shape[0]), max(0, right - image.shape[1])
    if not (above or below or left_of or right_of):
        return piece
    kind = cv2.BORDER_REFLECT_101 if mirror else cv2.BORDER_CONSTANT
    return np.asarray(cv2.copyMakeBorder(piece, above, below, left_of, right_of, kind, value=(PAD, PAD, PAD)))


class _Sums:
    """Weighted probabilities on the common grid, of the rows that some tile may still add to."""

    def __init__(self, classes: int, *, plan: TilePlan, views: int) -> None:
        self._top = 0
        self._rows = np.zeros((classes, 0, plan.columns.cells), np.float32)
        self._views = views
        self._compared = self._unlike = 0

    @property
    def disagreement(self) -> float:
        """Share of overlapped cells in which a tile's class is not that of the tiles before it."""
        return self._unlike / max(1, self._compared)

    def add(self, tile: Tile, planes: np.ndarray) -> None:
        """Add a tile's probabilities (C, h, w)."""
        planes = _onto_grid(planes, tile)
        top, left = tile.rows.first - self._top, tile.columns.first
        missing = top + planes.shape[1] - self._rows.shape[1]
        if missing > 0:
            self._rows = np.pad(self._rows, ((0, 0), (0, missing), (0, 0)))
        region = self._rows[:, top : top + planes.shape[1], left : left + planes.shape[2]]
        covered = region.sum(axis=0) > 0
        self._compared += int(covered.sum())
        self._unlike += int(((region.argmax(axis=0) != planes.argmax(axis=0)) & covered).sum())
        region += planes * (tile.rows.weights[:, None] * tile.columns.weights / np.float32(self._views))

    def release(self, below: int) -> np.ndarray:
        """Return the log-probabilities (C, rows, w) of the rows above `below`, which no tile adds to any more."""
        count = max(0, min(below - self._top, self._rows.shape[1]))
        done, self._rows = self._rows[:, :count], self._rows[:, count:]
        self._top += count
        return np.log(np.maximum(done, np.float32(LEAST_PROBABILITY)))


def _onto_grid(planes: np.ndarray, tile: Tile) -> np.ndarray:
    """Return a tile's planes on the cells of the common grid that it covers."""
    rows, columns = tile.rows, tile.columns
    if rows.resample is not None and columns.resample is not None:
        return np.asarray(rows.resample @ planes @ columns.resample.T)
    return planes[:, : len(rows.weights), : len(columns.weights)]


class _Canvas:
    """The label map, painted from the top as rows of cells are finished."""

    def __init__(self, size: tuple[int, int], *, plan: TilePlan, session: Session) -> None:
        self.labels = np.zeros(size if not plan.whole else (0, 0), np.uint8)
        self._size = size
        self._plan = plan
        self._session = session
        self._above = np.zeros((0, 0, 0), np.float32)
        self._first = 0

    def paint(self, planes: np.ndarray) -> None:
        """Paint the pixels down to the middle of the last row of `planes` (C, rows, w).

        Below it they lie between this row and the next, which is not known yet.
        """
        if planes.shape[1] == 0:
            return
        step, across = round(self._plan.rows.cell_px), round(self._plan.columns.cell_px)
        band = planes if self._first == 0 else np.concatenate([self._above, planes], axis=1)
        first, last = self._first - (1 if self._first else 0), self._first + planes.shape[1]
        size = (band.shape[1] * step, band.shape[2] * across)
        painted = decode(band[None], tensor=_planes_spec(band), preprocess=STRETCHED, input_size=size, size=size)
        begin = first * step + (step // 2 if first else 0)
        end = self._size[0] if last == self._plan.rows.cells else min(self._size[0], (last - 1) * step + step // 2)
        self.labels[begin:end] = painted[begin - first * step : end - first * step, : self._size[1]]
        self._above, self._first = planes[:, -1:].copy(), last

    def undo(self, planes: np.ndarray) -> np.ndarray:
        """Return the labels of an image that was not cut, from all planes (C, h, w): its resizing undone."""
        return decode(
            planes[None],
            tensor=_planes_spec(planes),
            preprocess=self._session.artifact.manifest.preprocess,
            input_size=self._session.input.size,
            size=self._size,
        )


def _planes_spec(planes: np.ndarray) -> TensorSpec:
    return TensorSpec(name="mean", shape=(1, *planes.shape), dtype="float32", layout="NCHW", role="logits")
