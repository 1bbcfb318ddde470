"""Resamples feature maps of whole images at the cells of a crop's grid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeseg.data import Crop


def sample_crops(maps: Tensor, *, crops: Sequence[Crop], cells: tuple[int, int]) -> Tensor:
    """Return maps (N, C, h, w) of whole images, bilinear, at the `cells` (rows, columns) of each crop.

    The result is (N, C, rows, columns); padding repeats the border. Crops are not rotated, so two small matrix products
    are enough, as in `edgeseg.train.objective.at_pixels`.
    """
    places = [crop.fractions(cells) for crop in crops]
    rows = np.stack([bilinear(y, cells=maps.shape[2]) for y, _ in places])
    columns = np.stack([bilinear(x, cells=maps.shape[3]) for _, x in places])
    return resampled(maps, rows=rows, columns=columns)


def inside(crops: Sequence[Crop], *, cells: tuple[int, int]) -> Tensor:
    """Return which cell centres of each crop are on its image, (N, rows, columns) bool."""
    places = [crop.fractions(cells) for crop in crops]
    return torch.from_numpy(np.stack([_inside(y)[:, None] & _inside(x) for y, x in places]))


def resampled(maps: Tensor, *, rows: np.ndarray, columns: np.ndarray) -> Tensor:
    """Return maps (N, C, h, w) resampled by row weights (N, H, h) and column weights (N, W, w): (N, C, H, W)."""
    left, right = (torch.from_numpy(item).to(maps)[:, None] for item in (rows, columns))
    return left @ (maps @ right.mT)


def bilinear(fractions: np.ndarray, *, cells: int) -> np.ndarray:
    """Return bilinear weights (n, cells) float32 at n positions, fractions of the length, clamped at the ends."""
    position = np.clip(fractions * cells - 0.5, 0, cells - 1)
    low = np.floor(position).astype(int)
    high = np.minimum(low + 1, cells - 1)
    weights = np.zeros((len(position), cells), np.float32)
    every = np.arange(len(position))
    np.add.at(weights, (every, low), 1 - (position - low))
    np.add.at(weights, (every, high), position - low)
    return weights


def _inside(fractions: np.ndarray) -> np.ndarray:
    return (fractions >= 0) & (fractions <= 1)
