"""One frame of a town: sky, ground, then all objects from far to near."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeseg.data.streets.backdrop import paint_sky, paint_skyline
from edgeseg.data.streets.buildings import paint_building, paint_strip
from edgeseg.data.streets.canvas import Canvas
from edgeseg.data.streets.furniture import paint_item
from edgeseg.data.streets.ground import Ground, cast_shadows, lay_street
from edgeseg.data.streets.light import Light
from edgeseg.data.streets.traffic import moving
from edgeseg.data.streets.world import CHUNK_M, Chunk, StreetObject, Town, chunk

if TYPE_CHECKING:
    from edgeseg.data.streets.camera import StreetCamera

_CHUNKS_AHEAD = 12


def paint_scene(town: Town, camera: StreetCamera, *, time_s: float) -> Canvas:
    """Return the painted canvas of what this camera sees at this time, before lens and sensor."""
    canvas = Canvas(high=camera.high, width=camera.width)
    light = Light(town=town)
    first = int(np.floor(camera.z_m / CHUNK_M))
    chunks = [chunk(town.seed, first + i) for i in range(_CHUNKS_AHEAD)]
    movers = [item for item in moving(town, time_s=time_s, camera_z_m=camera.z_m) if _clear_of(camera, item)]
    paint_sky(canvas, town=town, camera=camera)
    paint_skyline(canvas, town=town, camera=camera, light=light)
    plan = Ground(canvas=canvas, town=town, camera=camera)
    lay_street(plan, chunks=chunks)
    near = [item for part in chunks[:6] for item in part.back + part.items if _clear_of(camera, item)]
    cast_shadows(plan, chunks=chunks[:7], things=near + [item for item in movers if item.z_m < camera.z_m + 70])
    plan.paint(light=light)
    for part in reversed(chunks):
        here = [item for item in movers if part.index == int(np.floor(item.z_m / CHUNK_M))]
        _paint_chunk(canvas, part, town=town, camera=camera, light=light, movers=here)
    return canvas


def _clear_of(camera: StreetCamera, item: StreetObject) -> bool:
    """Return whether an object leaves room for the camera's car."""
    return item.kind != "car" or abs(item.x_m - camera.x_m) > 1.9 or item.z_m - camera.z_m > 5.0


def _paint_chunk(
    canvas: Canvas, part: Chunk, *, town: Town, camera: StreetCamera, light: Light, movers: list[StreetObject]
) -> None:
    """Paint a chunk in layers: houses, gardens, fences, then the street from far to near."""
    for house in sorted(part.buildings, key=lambda h: -h.near_m):
        paint_building(canvas, house, town=town, camera=camera, light=light)
    for item in part.back:
        paint_item(canvas, item, camera=camera, light=light)
    for strip in part.strips:
        paint_strip(canvas, strip, camera=camera, light=light)
    standing = [item for item in part.items if _clear_of(camera, item)]
    for item in sorted([*standing, *movers], key=lambda i: -i.z_m):
        paint_item(canvas, item, camera=camera, light=light)
