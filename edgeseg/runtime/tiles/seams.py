"""How visible the borders between tiles are in a label map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CHUNK_ROWS = 1024
BESIDE_CELLS = 4
"""How far to both sides of a border the inside of the tiles is compared, in cells of the net's output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seams:
    """Label changes over one cell of the net's output, across tile borders and beside them.

    `across` and `inside` are shares of pixel pairs one cell apart that have different labels, across a border and
    within four cells of it; `visibility` is their ratio: 1 is an invisible border, 2 one with twice the changes of its
    surroundings; None where these have none. `disagreement` is the share of overlapped cells in which
    a tile alone gives another class than those before it.
    """

    across: float
    inside: float
    visibility: float | None
    disagreement: float


def measure_seams(
    labels: np.ndarray,
    *,
    seams_px: tuple[tuple[int, ...], tuple[int, ...]],
    cell_px: tuple[int, int],
    disagreement: float,
) -> Seams:
    """Return how visible the seams are in `labels` (H, W) uint8; `seams_px` are rows and columns, as in `Plan`."""
    changes, pairs = np.zeros(2), np.zeros(2)
    for axis, lines in enumerate(seams_px):
        lag = min(cell_px[axis], labels.shape[axis] - 1)
        if not lines or lag < 1:
            continue
        counts = _changes(labels, axis, lag)
        astride = np.clip(np.array(lines) - (lag + 1) // 2, 0, len(counts) - 1)
        away = np.abs(np.arange(len(counts)) - astride[:, None])
        # Within one cell, a pair crosses the border too.
        beside = ((away >= lag) & (away <= BESIDE_CELLS * lag)).any(axis=0) & (away >= lag).all(axis=0)
        changes += [counts[astride].sum(), counts[beside].sum()]
        pairs += np.array([len(astride), beside.sum()]) * labels.shape[1 - axis]
    across, inside = (float(change / max(1.0, pair)) for change, pair in zip(changes, pairs, strict=True))
    return Seams(
        across=across, inside=inside, visibility=across / inside if inside else None, disagreement=disagreement
    )


def _changes(labels: np.ndarray, axis: int, lag: int) -> np.ndarray:
    """Return for each row (axis 0) or column (1) in how many places the label `lag` pixels further differs, int64."""
    counts = np.zeros(labels.shape[axis] - lag, np.int64)
    for top in range(0, labels.shape[0], CHUNK_ROWS):
        if axis == 1:
            piece = labels[top : top + CHUNK_ROWS]
            counts += np.count_nonzero(piece[:, lag:] != piece[:, :-lag], axis=0)
        else:
            piece = labels[top : top + CHUNK_ROWS + lag]
            found = np.count_nonzero(piece[lag:] != piece[:-lag], axis=1)
            counts[top : top + len(found)] = found
    return counts
