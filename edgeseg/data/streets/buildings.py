"""Houses along the street: a facade in perspective, the end wall, the roof and its chimneys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeseg.data.streets.camera import NEAR_M, StreetCamera
from edgeseg.data.streets.palette import BUILDING, FENCE, TREE, scaled
from edgeseg.data.streets.textures import FACADE_WIDTH_M, facade, strip_texture

if TYPE_CHECKING:
    from edgeseg.data.streets.canvas import Canvas
    from edgeseg.data.streets.light import Light
    from edgeseg.data.streets.world import Building, RoadsideStrip, Town


def wall_corners(
    camera: StreetCamera, start: np.ndarray, end: np.ndarray, *, low_m: float, high_m: float
) -> tuple[np.ndarray, float, float, float] | None:
    """Return a wall's corners in pixels, the shares of its length that are in view, and its distance.

    `start` and `end` are (x, z) on the ground; the wall is clipped at the near plane. None if it is behind.
    """
    view = camera.to_view(np.array([(start[0], 0.0, start[1]), (end[0], 0.0, end[1])]))
    z0, z1 = view[0, 2], view[1, 2]
    if max(z0, z1) <= NEAR_M:
        return None
    cut0, cut1 = 0.0, 1.0
    if z0 < NEAR_M:
        cut0 = (NEAR_M - z0) / (z1 - z0)
    if z1 < NEAR_M:
        cut1 = (NEAR_M - z0) / (z1 - z0)
    a, b = view[0] + cut0 * (view[1] - view[0]), view[0] + cut1 * (view[1] - view[0])
    up_low, up_high = np.array((0.0, low_m, 0.0)), np.array((0.0, high_m, 0.0))
    corners = camera.to_pixels(np.stack([a + up_high, b + up_high, b + up_low, a + up_low]))
    return corners, float(cut0), float(cut1), float(0.5 * (a[2] + b[2]))


def paint_wall(
    canvas: Canvas,
    *,
    camera: StreetCamera,
    light: Light,
    start: tuple[float, float],
    end: tuple[float, float],
    low_m: float,
    high_m: float,
    levels: tuple[np.ndarray, ...],
    span: tuple[float, float],
    facing: float,
    tint: tuple[float, float, float],
    label: int,
) -> None:
    """Paint a textured wall; `span` is the part of the texture's width (0..1) between start and end."""
    found = wall_corners(camera, np.array(start), np.array(end), low_m=low_m, high_m=high_m)
    if found is None or canvas.outside(found[0]):
        return
    corners, cut0, cut1, distance = found
    tall = max(abs(corners[3, 1] - corners[0, 1]), abs(corners[2, 1] - corners[1, 1]))
    wide = abs(corners[1, 0] - corners[0, 0]) / max(1e-3, (cut1 - cut0) * (span[1] - span[0]))
    shrink = max(levels[0].shape[0] / max(tall, 1.0), min(levels[0].shape[1] / max(wide, 1.0), 8.0))
    level = levels[int(np.clip(np.log2(max(shrink, 1.0)), 0, len(levels) - 1))]
    width = level.shape[1]
    left = int((span[0] + cut0 * (span[1] - span[0])) * width)
    right = max(left + 2, int((span[0] + cut1 * (span[1] - span[0])) * width))
    left = min(left, width - 2)
    gain, haze = light.factors(distance_m=distance, facing=facing)
    gain = (gain[0] * tint[0], gain[1] * tint[1], gain[2] * tint[2])
    canvas.texture(corners, level[:, left:right], gain=gain, haze=haze, label=label)


def paint_building(canvas: Canvas, house: Building, *, town: Town, camera: StreetCamera, light: Light) -> None:
    """Paint one house: end wall that faces the camera, roof, facade, chimney."""
    front = house.side * (town.road_half_m + town.pavement_m + house.setback_m)
    back = front + house.side * house.depth_m
    levels = facade(house.facade)
    distance = max(0.0, house.near_m - camera.z_m)
    facing = light.side(house.side)
    _roof(canvas, house, front=front, back=back, camera=camera, light=light, distance=distance, facing=facing)
    wide = min(1.0, (house.far_m - house.near_m) / (2 * FACADE_WIDTH_M))
    start = house.slice * (1.0 - wide)
    if house.near_m > camera.z_m:
        paint_wall(
            canvas,
            camera=camera,
            light=light,
            start=(front, house.near_m),
            end=(back, house.near_m),
            low_m=-0.3,
            high_m=house.high_m,
            levels=levels,
            span=(0.0, 0.06),
            facing=0.55,
            tint=house.tint,
            label=BUILDING,
        )
        _gable(canvas, house, front=front, back=back, camera=camera, light=light, distance=distance)
    paint_wall(
        canvas,
        camera=camera,
        light=light,
        start=(front, house.near_m),
        end=(front, house.far_m),
        low_m=-0.3,
        high_m=house.high_m,
        levels=levels,
        span=(start, start + wide),
        facing=facing,
        tint=house.tint,
        label=BUILDING,
    )


def _roof(
    canvas: Canvas,
    house: Building,
    *,
    front: float,
    back: float,
    camera: StreetCamera,
    light: Light,
    distance: float,
    facing: float,
) -> None:
    """Paint the roof's street side and the chimneys on its ridge."""
    if house.roof_m <= 0:
        return
    ridge_x, top = 0.5 * (front + back), house.high_m + house.roof_m
    eaves = front - house.side * 0.25
    colour = light.seen(house.roof, distance_m=distance, facing=facing)
    if house.chimney:
        z = house.near_m + 0.25 * (house.far_m - house.near_m)
        for dx, dz in ((0.0, 0.0), (0.0, 0.5 * (house.far_m - house.near_m))):
            stack = np.array(
                [
                    (ridge_x + dx - 0.5, top - 1.2, z + dz),
                    (ridge_x + dx - 0.5, top + 1.3, z + dz),
                    (ridge_x + dx + 0.5, top + 1.3, z + dz),
                    (ridge_x + dx + 0.5, top - 1.2, z + dz),
                ]
            )
            brick = light.seen((60, 78, 118), distance_m=distance, facing=0.6)
            canvas.polygon(camera.project(stack), colour=brick, label=BUILDING)
    slope = np.array(
        [
            (eaves, house.high_m, house.near_m),
            (eaves, house.high_m, house.far_m),
            (ridge_x, top, house.far_m),
            (ridge_x, top, house.near_m),
        ]
    )
    canvas.polygon(camera.project(slope), colour=colour, label=BUILDING)
    dark = light.seen(scaled(house.roof, 0.72), distance_m=distance, facing=facing)
    for share in (0.2, 0.45, 0.7):
        x, y = eaves + share * (ridge_x - eaves), house.high_m + share * (top - house.high_m)
        row = np.array(
            [(x, y, house.near_m), (x, y, house.far_m), (x, y + 0.12, house.far_m), (x, y + 0.12, house.near_m)]
        )
        canvas.tint(camera.project(row), colour=dark)


def _gable(
    canvas: Canvas, house: Building, *, front: float, back: float, camera: StreetCamera, light: Light, distance: float
) -> None:
    """Paint the triangle of wall under a pitched roof."""
    if house.roof_m <= 0:
        return
    peak = np.array(
        [
            (front, house.high_m - 0.1, house.near_m),
            (back, house.high_m - 0.1, house.near_m),
            (0.5 * (front + back), house.high_m + house.roof_m, house.near_m),
        ]
    )
    wall = facade(house.facade)[-1].reshape(-1, 3).mean(axis=0) * np.array(house.tint)
    b, g, r = (float(v) for v in wall)
    canvas.polygon(camera.project(peak), colour=light.seen((b, g, r), distance_m=distance, facing=0.5), label=BUILDING)


def paint_strip(canvas: Canvas, strip: RoadsideStrip, *, camera: StreetCamera, light: Light) -> None:
    """Paint a fence of panels, railings, a hedge or a garden wall along the pavement."""
    label = {"panels": FENCE, "railing": FENCE, "hedge": TREE, "wall": BUILDING}[strip.kind]
    levels = strip_texture(strip.kind, int(strip.pick * 4))
    facing = light.side(strip.side)
    if strip.kind in ("hedge", "wall") and strip.near_m > camera.z_m:
        deep = strip.side * (1.2 if strip.kind == "hedge" else 0.3)
        paint_wall(
            canvas,
            camera=camera,
            light=light,
            start=(strip.x_m, strip.near_m),
            end=(strip.x_m + deep, strip.near_m),
            low_m=0.0,
            high_m=strip.high_m,
            levels=levels,
            span=(0.0, 0.1),
            facing=0.5,
            tint=(1.0, 1.0, 1.0),
            label=label,
        )
    paint_wall(
        canvas,
        camera=camera,
        light=light,
        start=(strip.x_m, strip.near_m),
        end=(strip.x_m, strip.far_m),
        low_m=0.0,
        high_m=strip.high_m,
        levels=levels,
        span=(0.0, 1.0),
        facing=facing,
        tint=(1.0, 1.0, 1.0),
        label=label,
    )
