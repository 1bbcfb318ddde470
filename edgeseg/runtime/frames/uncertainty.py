"""How sure the net is, from the low-resolution logits: one minus the margin of the two best classes, or the entropy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from edgeseg.core.suggestions import unknown

if TYPE_CHECKING:
    from edgeseg.core.spec import Preprocess

UncertaintyKind = Literal["margin", "entropy"]


def uncertainty_kind(text: str | None) -> UncertaintyKind | None:
    """Return the kind of uncertainty that a text names, None for None; raises `UnknownName` for any other text."""
    kinds: tuple[UncertaintyKind, ...] = get_args(UncertaintyKind)
    for kind in kinds:
        if text == kind:
            return kind
    if text is None:
        return None
    raise unknown("kind of uncertainty", text, kinds)


def uncertainty_of(cells: np.ndarray, *, scale: float, temperature: float, kind: UncertaintyKind) -> np.ndarray:
    """Return uncertainty in [0, 1], float32, of logits (..., C).

    "margin" is 1 - (best - second best probability); "entropy" is the entropy over its maximum log C.
    """
    from edgeseg.pixels import softmax

    shares = softmax(cells.astype(np.float32) * np.float32(scale / temperature), axis=-1)
    if shares.shape[-1] == 1:
        return np.zeros(shares.shape[:-1], np.float32)
    if kind == "margin":
        two = np.partition(shares, -2, axis=-1)[..., -2:]
        return 1 - (two[..., 1] - two[..., 0])
    surprise = np.log(np.maximum(shares, np.finfo(np.float32).tiny))
    entropy: np.ndarray = -(shares * surprise).sum(axis=-1) / np.float32(np.log(shares.shape[-1]))
    return entropy


def spread(
    coarse: np.ndarray, *, preprocess: Preprocess, input_size: tuple[int, int], size: tuple[int, int]
) -> np.ndarray:
    """Return (H, W) uint8 at `size`, 255 for an uncertainty of 1, from that of cells (h, w); undoes letterboxing."""
    import cv2

    from edgeseg.pixels import place

    where = place(size, input_size=input_size, preprocess=preprocess)
    step_y = where.height / size[0] * coarse.shape[0] / input_size[0]
    step_x = where.width / size[1] * coarse.shape[1] / input_size[1]
    # Pixel and cell centres lie at half-integers.
    start_y = (where.top / input_size[0]) * coarse.shape[0] + step_y / 2 - 0.5
    start_x = (where.left / input_size[1]) * coarse.shape[1] + step_x / 2 - 0.5
    matrix = np.array([[step_x, 0, start_x], [0, step_y, start_y]], np.float32)
    grey = np.clip(np.rint(255 * coarse), 0, 255).astype(np.uint8)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(grey, matrix, (size[1], size[0]), flags=flags, borderMode=cv2.BORDER_REPLICATE)
