"""Sky and the far end of the street."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

from edgeseg.data.streets.palette import BUILDING, SKY, TREE
from edgeseg.data.streets.textures import clouds

if TYPE_CHECKING:
    from edgeseg.data.streets.camera import StreetCamera
    from edgeseg.data.streets.canvas import Canvas
    from edgeseg.data.streets.light import Light
    from edgeseg.data.streets.world import Town

_FAR_M = 150.0


def paint_sky(canvas: Canvas, *, town: Town, camera: StreetCamera) -> None:
    """Paint sky over the whole canvas: a gradient down to the horizon, with clouds that move with the camera."""
    rows = np.linspace(0, 1, canvas.high, dtype=np.float32)[:, None, None] / np.float32(town.horizon_share)
    top, low = np.array(town.sky_top, np.float32), np.array(town.sky_low, np.float32)
    share = np.clip(rows, 0, 1) ** 1.3
    column = top * (1 - share) + low * share
    sheet = clouds()
    start = int((town.seed * 131 + camera.yaw * 320) % 700)
    band = sheet[:128, start : start + 256]
    veil = cv2.resize(band, (canvas.width, canvas.high), interpolation=cv2.INTER_LINEAR)
    veil = (veil * np.float32(town.cloud)).astype(np.int16)
    base = np.ascontiguousarray(np.broadcast_to(column, (canvas.high, canvas.width, 3)).astype(np.int16))
    canvas.image[:] = cv2.add(base, cv2.merge([veil, veil, veil]), dtype=cv2.CV_16S).clip(0, 255)
    canvas.labels[:] = SKY


@lru_cache(maxsize=16)
def _blocks(
    seed: int, width: int
) -> tuple[tuple[int, float, float, float, bool, tuple[float, float, float], np.ndarray], ...]:
    """Return the blocks of a town's skyline: row, left edge, width, height (m), tree or house, colour, raggedness."""
    rng = np.random.default_rng([seed, 5])
    tone = float(rng.uniform(0.7, 1.2))
    found = []
    for row in (0, 1):
        edge = -width * 0.9
        while edge < width * 1.9:
            wide, high = float(rng.uniform(10, 60)), float(rng.uniform(2.0, 13.0))
            tree = bool(rng.random() < (0.55 if row else 0.35))
            b, g, r = (58.0, 74.0, 66.0) if tree else (float(v) for v in rng.uniform(70, 140) + rng.normal(0, 8, 3))
            found.append((row, edge, wide, high, tree, (b * tone, g * tone, r * tone), rng.random(12)))
            edge += wide * 0.8
    return tuple(found)


def paint_skyline(canvas: Canvas, *, town: Town, camera: StreetCamera, light: Light) -> None:
    """Paint the roofs and trees at the end of the view, in two rows of blocks at 150 m and more."""
    offset = camera.focal_px * np.tan(camera.yaw)
    for row, edge, wide, high_m, tree, own, bumps in _blocks(town.seed, canvas.width):
        x, distance = edge - offset, _FAR_M if row else 1.5 * _FAR_M
        if -wide < x < canvas.width:
            colour = light.seen(own, distance_m=distance * 0.7)
            _block(
                canvas,
                bumps,
                x=x,
                wide=wide,
                high=high_m * camera.focal_px / distance,
                horizon=camera.horizon_px,
                tree=tree,
                colour=colour,
            )


def _block(
    canvas: Canvas,
    bumps: np.ndarray,
    *,
    x: float,
    wide: float,
    high: float,
    horizon: float,
    tree: bool,
    colour: tuple[float, float, float],
) -> None:
    """Paint one far block: a ragged mass of leaves or a house with a roof."""
    base = horizon + 6.0
    if tree:
        steps = np.linspace(0, 1, 12)
        tops = np.stack([x + steps * wide * 1.2, horizon - high * (0.6 + 0.5 * bumps) * np.sin(0.2 + 2.7 * steps)], 1)
        shape = np.concatenate([tops, [[x + wide * 1.2, base], [x, base]]])
    else:
        ridge = horizon - high * (1.0 + 0.3 * bumps[0])
        left, right = x, x + wide
        shape = np.array(
            [
                [left, base],
                [left, horizon - high],
                [left + wide * 0.2, ridge],
                [right - wide * 0.2, ridge],
                [right, horizon - high],
                [right, base],
            ]
        )
    canvas.polygon(shape, colour=colour, label=TREE if tree else BUILDING)
