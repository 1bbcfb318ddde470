"""Ground-truth labels at the cells of a net's output, which is coarser than the image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeseg.pixels.geometry import place

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeseg.core.spec import Preprocess


def labels_of_cells(
    labels: NDArray[np.uint8],
    *,
    cells: tuple[int, int],
    input_size: tuple[int, int],
    preprocess: Preprocess,
    ignore: int,
) -> NDArray[np.uint8]:
    """Return the labels at the cell centres, (h * w,), from a label map (H, W); `ignore` in letterbox padding."""
    size = (labels.shape[0], labels.shape[1])
    where = place(size, input_size=input_size, preprocess=preprocess)
    rows = _pixels(cells[0], input_pixels=input_size[0], start=where.top, extent=where.height, pixels=size[0])
    columns = _pixels(cells[1], input_pixels=input_size[1], start=where.left, extent=where.width, pixels=size[1])
    found = labels[np.clip(rows, 0, size[0] - 1)][:, np.clip(columns, 0, size[1] - 1)].copy()
    found[(rows < 0) | (rows >= size[0])] = ignore
    found[:, (columns < 0) | (columns >= size[1])] = ignore
    return found.reshape(-1)


def _pixels(cells: int, *, input_pixels: int, start: int, extent: int, pixels: int) -> NDArray[np.intp]:
    centres = (np.arange(cells) + 0.5) * (input_pixels / cells)
    result: NDArray[np.intp] = np.floor((centres - start) * (pixels / extent)).astype(np.intp)
    return result
