"""Street furniture and plants: lamps, posts, bollards, signs, traffic lights, banners, trees and bushes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeseg.data.streets.camera import NEAR_M, StreetCamera
from edgeseg.data.streets.palette import POLE, SIGN, TREE, PaintColour, scaled
from edgeseg.data.streets.people import paint_cycle, paint_cyclist, paint_person
from edgeseg.data.streets.textures import CROWN_COUNT, crown
from edgeseg.data.streets.vehicles import paint_car

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeseg.data.streets.canvas import Canvas
    from edgeseg.data.streets.light import Light
    from edgeseg.data.streets.world import StreetObject


class _Stand:
    """Something upright that faces the camera: places are metres (across, up) from its foot."""

    def __init__(self, canvas: Canvas, *, item: StreetObject, camera: StreetCamera, light: Light) -> None:
        self.canvas, self.light = canvas, light
        view = camera.to_view(np.array([(item.x_m, 0.0, item.z_m)]))
        self.distance = float(view[0, 2])
        self.visible = NEAR_M + 0.8 < self.distance < 150
        if self.visible:
            self.foot = camera.to_pixels(view)[0]
            self.px_per_m = camera.focal_px / self.distance
            reach = 0.8 * max(item.high_m, 2.5) * self.px_per_m
            self.visible = bool(-reach < self.foot[0] < camera.width + reach)

    def at(self, across: float, up: float) -> np.ndarray:
        result: np.ndarray = self.foot + np.array((across, -up)) * self.px_per_m
        return result

    def seen(self, own: PaintColour) -> PaintColour:
        return self.light.seen(own, distance_m=self.distance)

    def bar(self, a: tuple[float, float], b: tuple[float, float], *, wide: float, own: PaintColour, label: int) -> None:
        self.canvas.line(self.at(*a), self.at(*b), width_px=wide * self.px_per_m, colour=self.seen(own), label=label)

    def shape(self, points: list[tuple[float, float]], own: PaintColour, *, label: int) -> None:
        self.canvas.polygon(np.stack([self.at(*p) for p in points]), colour=self.seen(own), label=label)

    def board(self, low: tuple[float, float], high: tuple[float, float], own: PaintColour, *, label: int) -> None:
        self.shape([low, (high[0], low[1]), high, (low[0], high[1])], own, label=label)


def _metal(item: StreetObject) -> PaintColour:
    """Return a post's colour: dark, galvanised or painted."""
    return ((40.0, 42.0, 40.0), (105.0, 104.0, 100.0), (140.0, 140.0, 136.0), (52.0, 66.0, 46.0), (24.0, 24.0, 24.0))[
        int(item.pick * 997) % 5
    ]


def _lamp(stand: _Stand, item: StreetObject) -> None:
    own, inward = _metal(item), -1.0 if item.x_m > 0 else 1.0
    stand.bar((0, 0), (0, 1.2), wide=0.2, own=own, label=POLE)
    stand.bar((0, 1.0), (0, item.high_m), wide=0.12, own=own, label=POLE)
    if item.pick < 0.7:
        reach = inward * (0.8 + item.pick)
        stand.bar((0, item.high_m), (reach, item.high_m + 0.25), wide=0.08, own=own, label=POLE)
        stand.bar(
            (reach, item.high_m + 0.25),
            (reach + inward * 0.5, item.high_m + 0.25),
            wide=0.18,
            own=(150, 155, 155),
            label=POLE,
        )
    else:
        top = item.high_m
        stand.shape([(-0.22, top + 0.5), (0.22, top + 0.5), (0.14, top), (-0.14, top)], (70, 72, 70), label=POLE)


def _post(stand: _Stand, item: StreetObject) -> None:
    stand.bar((0, 0), (0, item.high_m), wide=0.09 + 0.12 * (item.pick > 0.8), own=_metal(item), label=POLE)


def _bollard(stand: _Stand, item: StreetObject) -> None:
    stand.bar((0, 0), (0, item.high_m), wide=0.17, own=_metal(item), label=POLE)
    if item.pick > 0.6:
        stand.bar((0, item.high_m * 0.8), (0, item.high_m * 0.9), wide=0.18, own=(215, 215, 215), label=POLE)


def _sign(stand: _Stand, item: StreetObject) -> None:
    top, kind = item.high_m, int(item.pick * 7)
    stand.bar((0, 0), (0, top), wide=0.08, own=(110, 110, 108), label=POLE)
    ring = [(0.34 * np.cos(t), top - 0.34 + 0.34 * np.sin(t)) for t in np.linspace(0, 2 * np.pi, 14, endpoint=False)]
    inner = [(0.7 * x, (y - top + 0.34) * 0.7 + top - 0.34) for x, y in ring]
    if kind in (0, 1):
        stand.shape(ring, (36, 32, 190) if kind == 0 else (150, 80, 20), label=SIGN)
        stand.shape(inner, (228, 228, 228) if kind == 0 else (170, 96, 26), label=SIGN)
        stand.board((-0.05, top - 0.5), (0.05, top - 0.18), (30, 30, 30) if kind == 0 else (230, 230, 230), label=SIGN)
    elif kind == 2:
        stand.shape([(-0.42, top - 0.72), (0.42, top - 0.72), (0, top)], (36, 32, 190), label=SIGN)
        stand.shape([(-0.26, top - 0.62), (0.26, top - 0.62), (0, top - 0.18)], (228, 228, 228), label=SIGN)
    elif kind == 3:
        stand.board((-0.3, top - 0.8), (0.3, top), (228, 228, 226), label=SIGN)
        stand.board((-0.24, top - 0.74), (0.24, top - 0.3), (30, 60, 170), label=SIGN)
    elif kind == 4:
        stand.board((-0.8, top - 0.6), (0.9, top), (60, 110, 30), label=SIGN)
        for row in (0.15, 0.38):
            stand.board((-0.65, top - row - 0.1), (0.6, top - row), (225, 225, 225), label=SIGN)
    elif kind == 5:
        stand.board((-0.3, top - 0.4), (0.35, top), (30, 190, 220), label=SIGN)
    else:
        stand.board((-0.28, top - 1.0), (0.28, top), (165, 80, 40), label=SIGN)
        stand.board((-0.2, top - 0.5), (0.2, top - 0.1), (225, 225, 225), label=SIGN)


def _lights(stand: _Stand, item: StreetObject) -> None:
    top = item.high_m
    stand.bar((0, 0), (0, top), wide=0.11, own=(46, 46, 46), label=POLE)
    stand.board((-0.24, top - 1.0), (0.24, top + 0.05), (22, 22, 22), label=SIGN)
    lit = int(item.pick * 3)
    for row, colour in enumerate(((50.0, 50.0, 240.0), (40.0, 180.0, 240.0), (170.0, 230.0, 70.0))):
        own = colour if row == lit else scaled(colour, 0.2)
        y = top - 0.15 - 0.32 * row
        stand.shape([(-0.1, y), (0, y + 0.11), (0.1, y), (0, y - 0.11)], own, label=SIGN)


def _banner(stand: _Stand, item: StreetObject) -> None:
    top, shade = item.high_m, item.pick
    own = (40 + 180 * ((shade * 3) % 1), 30 + 160 * ((shade * 7) % 1), 30 + 190 * ((shade * 13) % 1))
    stand.bar((0, 0), (0, top), wide=0.1, own=(60, 60, 60), label=POLE)
    wide, tall = 0.5 + shade * 0.5, 0.9 + 0.9 * ((shade * 29) % 1)
    stand.board((0.05, top - tall), (wide, top), own, label=SIGN)
    ink = (235, 235, 235) if sum(own) < 330 else (30, 30, 30)
    for row in range(int(3 + shade * 3)):
        y = top - 0.2 - row * 0.22
        if y - 0.1 > top - tall:
            stand.board((0.15, y - 0.1), (wide - 0.12 - 0.2 * ((row * shade * 9) % 1), y), ink, label=SIGN)


def _bin(stand: _Stand, item: StreetObject) -> None:
    red = item.pick < 0.5  # a British pillar box is street furniture: CamVid marks it as a column
    stand.bar((0, 0), (0, item.high_m), wide=0.5, own=(40, 36, 165) if red else (40, 44, 40), label=POLE)


def _tree(stand: _Stand, item: StreetObject) -> None:
    sprite = crown(int(item.pick * CROWN_COUNT))
    bare = int(item.pick * CROWN_COUNT) % 3 == 2
    trunk = item.high_m * (0.16 if bare else 0.3)
    wide = 0.03 * item.high_m + 0.06
    stand.shape(
        [(-wide * 0.6, trunk + 0.3), (wide * 0.6, trunk + 0.3), (wide, 0), (-wide, 0)], (38, 48, 56), label=TREE
    )
    _crown(stand, sprite=sprite, up_m=trunk * 0.75, high_m=item.high_m - trunk * 0.75, wide_share=0.7 + 0.4 * item.pick)


def _bush(stand: _Stand, item: StreetObject) -> None:
    sprite = crown(int(item.pick * CROWN_COUNT) // 3 * 3)
    _crown(stand, sprite=sprite, up_m=-0.15 * item.high_m, high_m=item.high_m * 1.3, wide_share=1.2)


def _crown(stand: _Stand, *, sprite: np.ndarray, up_m: float, high_m: float, wide_share: float) -> None:
    """Paint a tree: trunk and crown."""
    tall = high_m * stand.px_per_m
    gain, haze = stand.light.factors(distance_m=stand.distance)
    haze_cut = (haze[0], haze[1], haze[2])
    stand.canvas.sprite(
        sprite, foot=stand.at(0, up_m), size=(tall * wide_share, tall), gain=gain, haze=haze_cut, label=TREE
    )


_STANDS: dict[str, Callable[[_Stand, StreetObject], None]] = {
    "lamp": _lamp,
    "post": _post,
    "bollard": _bollard,
    "sign": _sign,
    "lights": _lights,
    "banner": _banner,
    "bin": _bin,
    "tree": _tree,
    "bush": _bush,
}
_OTHERS = {
    "car": paint_car,
    "walker": paint_person,
    "stander": paint_person,
    "cyclist": paint_cyclist,
    "cyclist_side": paint_cyclist,
    "cycle": paint_cycle,
}


def paint_item(canvas: Canvas, item: StreetObject, *, camera: StreetCamera, light: Light) -> None:
    """Paint one object by its kind."""
    if item.kind in _OTHERS:
        _OTHERS[item.kind](canvas, item, camera=camera, light=light)
        return
    stand = _Stand(canvas, item=item, camera=camera, light=light)
    if stand.visible:
        _STANDS[item.kind](stand, item)
