"""People on foot and on cycles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeseg.data.streets.camera import NEAR_M, StreetCamera
from edgeseg.data.streets.palette import BICYCLIST, PEDESTRIAN, PaintColour, scaled

if TYPE_CHECKING:
    from edgeseg.data.streets.canvas import Canvas
    from edgeseg.data.streets.light import Light
    from edgeseg.data.streets.world import StreetObject


class _Figure:
    """A flat figure that faces the camera: places are (across, up) shares of its height from its foot."""

    def __init__(self, canvas: Canvas, *, item: StreetObject, camera: StreetCamera, light: Light, label: int) -> None:
        self.canvas, self.light, self.label = canvas, light, label
        view = camera.to_view(np.array([(item.x_m, 0.0, item.z_m)]))
        self.distance = float(view[0, 2])
        self.visible = NEAR_M + 0.6 < self.distance < 120
        if self.visible:
            self.foot = camera.to_pixels(view)[0]
            self.size = camera.focal_px / self.distance * item.high_m
            self.visible = bool(-self.size < self.foot[0] < camera.width + self.size)

    def at(self, across: float, up: float) -> np.ndarray:
        result: np.ndarray = self.foot + np.array((across * self.size, -up * self.size))
        return result

    def colour(self, own: PaintColour, *, facing: float = 0.75) -> PaintColour:
        return self.light.seen(own, distance_m=self.distance, facing=facing)

    def bar(self, a: tuple[float, float], b: tuple[float, float], *, wide: float, own: PaintColour) -> None:
        self.canvas.line(self.at(*a), self.at(*b), width_px=wide * self.size, colour=self.colour(own), label=self.label)

    def shape(self, points: list[tuple[float, float]], own: PaintColour) -> None:
        pixels = np.stack([self.at(*p) for p in points])
        self.canvas.polygon(pixels, colour=self.colour(own), label=self.label)

    def disc(self, centre: tuple[float, float], *, radius: tuple[float, float], own: PaintColour) -> None:
        place = self.at(*centre)
        reach = max(radius) * self.size
        if -reach <= place[0] < self.canvas.width + reach and -reach <= place[1] < self.canvas.high + reach:
            radii = (radius[0] * self.size, radius[1] * self.size)
            self.canvas.disc(place, radii=radii, colour=self.colour(own), label=self.label)


def _clothes(pick: float, salt: int) -> PaintColour:
    """Return mostly dark, sometimes bright clothes."""
    rng = np.random.default_rng([int(pick * 1e9), salt])
    if rng.random() < 0.75:
        grey = rng.uniform(16, 75)
        b, g, r = np.clip(grey + rng.normal(0, 9, 3), 8, 120)
    else:
        b, g, r = np.clip(rng.uniform(40, 210) + rng.normal(0, 38, 3), 10, 235)
    return float(b), float(g), float(r)


def paint_person(canvas: Canvas, item: StreetObject, *, camera: StreetCamera, light: Light) -> None:
    """Paint a standing or walking person; `heading` is the phase of the step."""
    figure = _Figure(canvas, item=item, camera=camera, light=light, label=PEDESTRIAN)
    if not figure.visible:
        return
    coat, legs, skin = _clothes(item.pick, 1), _clothes(item.pick, 2), (110.0, 135.0, 175.0)
    if item.pick % 0.1 > 0.07:
        skin = (60.0, 78.0, 110.0)
    stride = 0.0 if item.kind == "stander" else 0.12 * float(np.sin(item.heading))
    wide = 0.105 + 0.035 * ((item.pick * 37) % 1.0)
    figure.bar((-0.035, 0.47), (-0.045 - stride, 0.02), wide=0.085, own=legs)
    figure.bar((0.035, 0.47), (0.045 + stride, 0.02), wide=0.085, own=legs)
    figure.bar((-0.05 - stride, 0.02), (-0.02 - stride, 0.015), wide=0.045, own=(20, 20, 20))
    figure.bar((0.04 + stride, 0.02), (0.075 + stride, 0.015), wide=0.045, own=(20, 20, 20))
    hem = 0.36 if item.pick % 0.2 > 0.12 else 0.45
    figure.bar((-wide * 0.95, 0.78), (-wide * 1.15 + stride * 0.8, 0.46), wide=0.06, own=scaled(coat, 0.85))
    neck, skirt = ((-0.045, 0.845), (0.045, 0.845)), ((wide * 0.9, hem), (-wide * 0.9, hem))
    figure.shape([(-wide, 0.8), *neck, (wide, 0.8), *skirt], coat)
    figure.bar((wide * 0.95, 0.78), (wide * 1.15 - stride * 0.8, 0.46), wide=0.06, own=scaled(coat, 0.8))
    if (item.pick * 11) % 1.0 < 0.3:
        bag = [(wide * 0.7, 0.6), (wide * 1.5, 0.6), (wide * 1.5, 0.43), (wide * 0.7, 0.43)]
        figure.shape(bag, _clothes(item.pick, 3))
    figure.disc((0.0, 0.925), radius=(0.058, 0.072), own=skin)
    hair = _clothes(item.pick, 4)
    figure.shape([(-0.06, 0.93), (-0.05, 0.985), (0.0, 1.005), (0.05, 0.985), (0.06, 0.93), (0.0, 0.955)], hair)


def paint_cyclist(canvas: Canvas, item: StreetObject, *, camera: StreetCamera, light: Light) -> None:
    """Paint a cyclist from behind, the front or the side by the angle; `heading` is the phase of the pedals."""
    figure = _Figure(canvas, item=item, camera=camera, light=light, label=BICYCLIST)
    if not figure.visible:
        return
    turned = item.kind == "cyclist_side"
    reach = 0.3 if turned else 0.035
    _cycle(figure, reach=reach)
    coat, legs = _clothes(item.pick, 1), _clothes(item.pick, 2)
    if (item.pick * 53) % 1.0 < 0.25:
        coat = (40.0, 230.0, 220.0)
    push = 0.06 * float(np.sin(item.heading))
    lean = 0.12 if turned else 0.0
    for side in (-1, 1):
        knee = (0.06 * side + lean * 0.9, 0.38 + push * side)
        figure.bar((0.04 * side - 0.02, 0.55), knee, wide=0.085, own=legs)
        figure.bar(knee, (0.055 * side + 0.03, 0.14 - push * side), wide=0.065, own=legs)
    wide = 0.13 if not turned else 0.1
    figure.shape([(-wide + lean, 0.83), (wide + lean, 0.83), (wide * 0.8, 0.52), (-wide * 0.8, 0.52)], coat)
    for side in (-1, 1):
        figure.bar((side * wide * 0.9 + lean, 0.8), (side * wide + lean * 2, 0.58), wide=0.055, own=coat)
    figure.disc((lean * 1.2, 0.91), radius=(0.055, 0.068), own=(110, 135, 175))
    if item.pick > 0.45:
        figure.disc((lean * 1.2, 0.95), radius=(0.062, 0.045), own=_clothes(item.pick, 5))


def paint_cycle(canvas: Canvas, item: StreetObject, *, camera: StreetCamera, light: Light) -> None:
    """Paint a parked cycle, seen from the side."""
    figure = _Figure(canvas, item=item, camera=camera, light=light, label=BICYCLIST)
    if figure.visible:
        figure.size *= 1.7
        _cycle(figure, reach=0.3)


def _cycle(figure: _Figure, *, reach: float) -> None:
    """Paint wheels, frame, saddle and handlebar; `reach` is half the wheelbase as a share of the rider's height."""
    grey, frame = (52.0, 52.0, 52.0), (40.0, 40.0, 90.0)
    radius = 0.185
    flat = radius * min(1.0, max(0.09, reach * 3.0))
    for centre in ((-reach, radius), (reach, radius)):
        figure.disc(centre, radius=(flat, radius), own=(24, 24, 24))
        figure.disc(centre, radius=(flat * 0.82, radius * 0.86), own=grey)
    crank, saddle, bar = (0.0, 0.2), (-reach * 0.4, 0.5), (reach * 0.75, 0.56)
    for a, b in (
        (crank, saddle),
        (crank, (reach * 0.6, 0.44)),
        (saddle, (reach * 0.6, 0.44)),
        ((-reach, radius), saddle),
        ((-reach, radius), crank),
        ((reach, radius), bar),
    ):
        figure.bar(a, b, wide=0.022, own=frame)
    figure.bar((saddle[0] - 0.04, saddle[1]), (saddle[0] + 0.05, saddle[1]), wide=0.03, own=(20, 20, 20))
    figure.bar((bar[0] - 0.1, bar[1]), (bar[0] + 0.1, bar[1]), wide=0.022, own=(20, 20, 20))
