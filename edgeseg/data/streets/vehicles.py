"""Cars, vans, buses: a side profile extruded to a body, which is correct from any view."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeseg.data.streets.palette import CAR

if TYPE_CHECKING:
    from edgeseg.data.streets.camera import StreetCamera
    from edgeseg.data.streets.canvas import Canvas
    from edgeseg.data.streets.light import Light
    from edgeseg.data.streets.world import StreetObject

_PAINTS = (
    (28, 26, 24),
    (46, 44, 42),
    (120, 118, 116),
    (172, 172, 172),
    (215, 215, 215),
    (40, 36, 120),
    (30, 30, 150),
    (110, 62, 30),
    (84, 50, 36),
    (60, 84, 44),
    (96, 112, 128),
    (150, 130, 100),
    (34, 40, 60),
    (70, 70, 74),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class VehicleShape:
    """A profile from rear to front over roof, (along, up) metres; `glass` holds the edges that are windows."""

    profile: tuple[tuple[float, float], ...]
    glass: tuple[int, ...]
    cabin: tuple[tuple[float, float], ...]
    wide_m: float
    wheel_m: float


_SHAPES = (
    VehicleShape(
        profile=(
            (-1.9, 0.32),
            (-1.95, 0.85),
            (-1.55, 1.38),
            (-0.9, 1.45),
            (0.15, 1.42),
            (0.95, 0.95),
            (1.8, 0.82),
            (1.95, 0.6),
            (1.95, 0.32),
        ),
        glass=(1, 4),
        wide_m=1.66,
        wheel_m=0.31,
        cabin=((-1.6, 0.92), (-1.4, 1.32), (-0.85, 1.38), (0.1, 1.36), (0.75, 0.95)),
    ),
    VehicleShape(
        profile=(
            (-2.2, 0.32),
            (-2.25, 0.9),
            (-1.5, 1.0),
            (-0.95, 1.42),
            (0.1, 1.43),
            (0.95, 0.95),
            (2.1, 0.8),
            (2.2, 0.55),
            (2.2, 0.32),
        ),
        glass=(2, 4),
        wide_m=1.75,
        wheel_m=0.32,
        cabin=((-1.35, 0.98), (-0.85, 1.34), (0.05, 1.36), (0.75, 0.96)),
    ),
    VehicleShape(
        profile=(
            (-2.2, 0.32),
            (-2.25, 0.95),
            (-2.1, 1.5),
            (-1.4, 1.62),
            (0.3, 1.58),
            (1.05, 1.05),
            (2.05, 0.95),
            (2.2, 0.65),
            (2.2, 0.32),
        ),
        glass=(1, 4),
        wide_m=1.8,
        wheel_m=0.36,
        cabin=((-2.0, 1.02), (-1.9, 1.46), (0.25, 1.5), (0.85, 1.05)),
    ),
    VehicleShape(
        profile=(
            (-2.5, 0.35),
            (-2.55, 1.1),
            (-2.5, 2.2),
            (1.0, 2.25),
            (1.75, 1.3),
            (2.4, 1.1),
            (2.5, 0.7),
            (2.5, 0.35),
        ),
        glass=(3,),
        wide_m=1.95,
        wheel_m=0.36,
        cabin=((0.3, 1.3), (0.3, 1.95), (1.0, 1.95), (1.5, 1.3)),
    ),
    VehicleShape(
        profile=((-5.2, 0.4), (-5.25, 1.3), (-5.2, 3.1), (5.0, 3.1), (5.2, 1.2), (5.2, 0.4)),
        glass=(1, 3),
        wide_m=2.5,
        wheel_m=0.5,
        cabin=((-5.0, 1.3), (-5.0, 2.3), (4.9, 2.3), (4.9, 1.3)),
    ),
)
_SHARES = (0.4, 0.64, 0.84, 0.95, 1.0)
_RING = np.linspace(0, 2 * np.pi, 14, endpoint=False)


def paint_car(canvas: Canvas, item: StreetObject, *, camera: StreetCamera, light: Light) -> None:
    """Paint a vehicle at its place; `heading` 0 drives along the road, pi comes towards the camera."""
    shape = _SHAPES[next(i for i, share in enumerate(_SHARES) if item.pick <= share)]
    paint = _PAINTS[int(item.pick * 7919) % len(_PAINTS)]
    body = _Body(canvas=canvas, item=item, camera=camera, light=light, shape=shape, paint=paint)
    place = camera.to_view(np.array([(item.x_m, 0.6, item.z_m)]))[0]
    if not -3 < item.z_m - camera.z_m < 160:
        return
    if abs(place[0]) - 6.0 > max(place[2], 0.5) * camera.width / camera.focal_px:
        return
    body.paint_all(eye=place)


class _Body:
    """One vehicle being painted."""

    def __init__(
        self,
        *,
        canvas: Canvas,
        item: StreetObject,
        camera: StreetCamera,
        light: Light,
        shape: VehicleShape,
        paint: tuple[int, int, int],
    ) -> None:
        self.canvas, self.item, self.camera, self.light, self.shape = canvas, item, camera, light, shape
        self.own = np.array(paint, float)
        self.distance = max(0.0, item.z_m - camera.z_m)
        self.cos, self.sin = float(np.cos(item.heading)), float(np.sin(item.heading))

    def points(self, local: list[tuple[float, float, float]] | np.ndarray) -> np.ndarray | None:
        """Return pixels of points given as (right, up, along) metres in the vehicle's frame."""
        p = np.asarray(local, float)
        world = np.empty_like(p)
        world[:, 0] = self.item.x_m + p[:, 0] * self.cos + p[:, 2] * self.sin
        world[:, 1] = p[:, 1]
        world[:, 2] = self.item.z_m - p[:, 0] * self.sin + p[:, 2] * self.cos
        return self.camera.project(world)

    def fill(self, local: list[tuple[float, float, float]], colour: np.ndarray, *, facing: float = 0.8) -> None:
        """Fill one face."""
        b, g, r = (float(v) for v in np.clip(colour, 0, 255))
        seen = self.light.seen((b, g, r), distance_m=self.distance, facing=facing)
        self.canvas.polygon(self.points(local), colour=seen, label=CAR)

    def eye_local(self, eye: np.ndarray) -> tuple[float, float]:
        """Return the camera's place (right, along) in the vehicle's frame."""
        dx = self.camera.x_m - self.item.x_m
        forward = self.item.z_m - self.camera.z_m
        dx -= 0.5 * self.camera.bend_per_m * forward * forward
        dz = -forward
        return dx * self.cos - dz * self.sin, dx * self.sin + dz * self.cos

    def paint_all(self, *, eye: np.ndarray) -> None:
        """Paint wheels, ends and top from far to near, then the visible side, lights and plates."""
        right, along = self.eye_local(eye)
        half = self.shape.wide_m / 2
        side = 1.0 if right > 0 else -1.0
        self._wheels(x=-side * (half - 0.12))
        edges = self._edges()
        order = sorted(range(len(edges)), key=lambda i: -abs(0.5 * (edges[i][0][0] + edges[i][1][0]) - along))
        for i in order:
            (a0, u0), (a1, u1) = edges[i]
            normal = (-(u1 - u0), a1 - a0)  # outwards, as the profile runs from rear over the roof to the front
            if normal[0] * (along - a0) + normal[1] * (self.camera.height_m - u0) > 0:
                self._face(i, (a0, u0), (a1, u1), half)
        if abs(right) > half:
            self._side(x=side * half)
        self._lights(along=along, half=half)

    def _edges(self) -> list[tuple[tuple[float, float], tuple[float, float]]]:
        return list(zip(self.shape.profile[:-1], self.shape.profile[1:], strict=True))

    def _face(self, index: int, start: tuple[float, float], end: tuple[float, float], half: float) -> None:
        """Paint one strip across the body: metal, or glass in a metal frame."""
        up = 1.15 if abs(end[1] - start[1]) < abs(end[0] - start[0]) else 0.8
        (a0, u0), (a1, u1) = start, end
        quad = [(-half, u0, a0), (half, u0, a0), (half, u1, a1), (-half, u1, a1)]
        self.fill(quad, self.own * up + (18 if up > 1 else 0))
        if index in self.shape.glass:
            inner = half * 0.84
            a = (start[0] + 0.1 * (end[0] - start[0]), start[1] + 0.1 * (end[1] - start[1]))
            b = (start[0] + 0.9 * (end[0] - start[0]), start[1] + 0.9 * (end[1] - start[1]))
            tone = 34 + 60 * ((self.item.pick * 131) % 1.0)
            pane = [(-inner, a[1], a[0]), (inner, a[1], a[0]), (inner * 0.92, b[1], b[0]), (-inner * 0.92, b[1], b[0])]
            self.fill(pane, np.array((tone * 1.1, tone, tone * 0.9)))

    def _side(self, *, x: float) -> None:
        """Paint the flank: body, windows with a pillar, door line, wheels."""
        self.fill([(x, u, a) for a, u in self.shape.profile], self.own * 0.9 + 4, facing=0.7)
        tone = np.array((48.0, 44.0, 40.0))
        self.fill([(x, u, a) for a, u in self.shape.cabin], tone)
        low, high = self.shape.cabin[0][0], self.shape.cabin[-1][0]
        pillars = (0.5,) if high - low < 4 else (0.15, 0.3, 0.45, 0.6, 0.75, 0.9)
        if self.distance < 45:
            for share in pillars:
                a = low + share * (high - low)
                top = max(u for _, u in self.shape.cabin)
                base = self.shape.cabin[0][1]
                self.fill([(x, base, a), (x, top, a), (x, top, a + 0.09), (x, base, a + 0.09)], self.own * 0.8)
            ends = self.shape.profile[0][0], self.shape.profile[-1][0]
            skirt = [(x, 0.3, ends[0]), (x, 0.45, ends[0]), (x, 0.45, ends[1]), (x, 0.3, ends[1])]
            self.fill(skirt, self.own * 0.5)
        self._wheels(x=x)

    def _wheels(self, *, x: float) -> None:
        """Paint the two wheels of this side."""
        radius = self.shape.wheel_m
        for a in (self.shape.profile[0][0] * 0.66, self.shape.profile[-1][0] * 0.64):
            ring = [(x, radius + radius * np.sin(t), a + radius * np.cos(t)) for t in _RING]
            self.fill(ring, np.array((18.0, 18.0, 18.0)))
            if self.distance < 40:
                hub = [(x, radius + 0.58 * radius * np.sin(t), a + 0.58 * radius * np.cos(t)) for t in _RING]
                self.fill(hub, np.array((120.0, 118.0, 116.0)))

    def _lights(self, *, along: float, half: float) -> None:
        """Paint lamps, number plate and bumper on the end that faces the camera."""
        if self.distance > 80:
            return
        rear = along < self.shape.profile[0][0]
        front = along > self.shape.profile[-1][0]
        if not rear and not front:
            return
        z = self.shape.profile[0][0] - 0.04 if rear else self.shape.profile[-1][0] + 0.02
        height = 0.74 if self.shape.profile[1][1] < 1.2 else 1.0
        height = min(height, self.shape.profile[1][1] if rear else self.shape.profile[-2][1]) + 0.02
        lamp = np.array((34.0, 28.0, 175.0)) if rear else np.array((225.0, 225.0, 220.0))
        self.fill([(-half, 0.32, z), (half, 0.32, z), (half, 0.46, z), (-half, 0.46, z)], self.own * 0.55 + 8)
        for side in (-1.0, 1.0):
            inner, outer = side * half * 0.66, side * half * 0.98
            low = height - 0.17
            self.fill([(inner, low, z), (outer, low, z), (outer, height, z), (inner, height, z)], lamp)
        plate = np.array((60.0, 190.0, 205.0)) if rear else np.array((215.0, 215.0, 215.0))
        self.fill([(-0.26, 0.48, z), (0.26, 0.48, z), (0.26, 0.59, z), (-0.26, 0.59, z)], plate)
        if not rear:
            self.fill([(-0.5, 0.62, z), (0.5, 0.62, z), (0.5, 0.71, z), (-0.5, 0.71, z)], np.array((30.0, 30.0, 30.0)))
