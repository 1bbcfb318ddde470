"""Everything flat: road, markings, kerbs, pavement, verges and the shadows on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from edgeseg.data.streets.camera import NEAR_M, StreetCamera, clip_near
from edgeseg.data.streets.canvas import Canvas, fixed
from edgeseg.data.streets.palette import PAVEMENT, ROAD, TREE
from edgeseg.data.streets.textures import GROUND_PX_PER_M, ground
from edgeseg.data.streets.world import CHUNK_M, Chunk, StreetObject, Town

if TYPE_CHECKING:
    from edgeseg.data.streets.light import Light

_ASPHALT, _PAVING, _GRASS, _WHITE, _YELLOW, _KERB, _DARK, _PATCH = range(8)
_LABELS = np.array([ROAD, PAVEMENT, TREE, ROAD, ROAD, PAVEMENT, ROAD, ROAD], np.uint8)
_WIDE_M = 70.0


class Ground:
    """The ground's material and light at each pixel."""

    def __init__(self, *, canvas: Canvas, town: Town, camera: StreetCamera) -> None:
        self.canvas = canvas
        self.town = town
        self.camera = camera
        self.material = np.full((canvas.high, canvas.width), _ASPHALT, np.uint8)
        self.lit = np.full((canvas.high, canvas.width), 255, np.uint8)
        self._waiting: list[tuple[np.ndarray, np.ndarray, int]] = []

    def fill(self, sheet: np.ndarray, points: np.ndarray, value: int) -> None:
        """Fill a polygon on the ground, (N, 2) metres x and z, in `material` or `lit`, when `flush` comes."""
        self._waiting.append((sheet, points, value))

    def flush(self) -> None:
        """Paint all queued polygons in order; projecting them together saves most of the work."""
        flat = np.zeros((sum(len(points) for _, points, _ in self._waiting), 3))
        flat[:, ::2] = np.concatenate([points for _, points, _ in self._waiting])
        view = self.camera.to_view(flat)
        ahead = view[:, 2] >= NEAR_M
        safe = view.copy()
        safe[:, 2] = np.maximum(view[:, 2], NEAR_M)
        pixels = self.camera.to_pixels(safe)
        shapes, end = fixed(pixels), 0
        for sheet, points, value in self._waiting:
            start, end = end, end + len(points)
            if ahead[start:end].all():
                cv2.fillPoly(sheet, [shapes[start:end]], value, cv2.LINE_8, 4)
            elif ahead[start:end].any():
                cut = self.camera.to_pixels(clip_near(view[start:end]))
                cv2.fillPoly(sheet, [fixed(cut)], value, cv2.LINE_8, 4)
        self._waiting.clear()

    def strip(self, *, x: tuple[float, float], z: tuple[float, float], material: int) -> None:
        """Fill a band along the road, following its bend."""
        if z[1] < self.camera.z_m - 2.0:
            return
        cuts = [z[0] + (z[1] - z[0]) * share for share in ((0, 1 / 3, 2 / 3, 1) if z[1] - z[0] > 5 else (0, 1))]
        outline = [(x[0], cut) for cut in cuts] + [(x[1], cut) for cut in reversed(cuts)]
        self.fill(self.material, np.array(outline), material)

    def paint(self, *, light: Light) -> None:
        """Paint the materials' colours, texture, shadows and labels into the canvas below the horizon."""
        self.flush()
        top = max(0, int(self.camera.horizon_px - abs(self.camera.roll) * self.canvas.width / 2))
        x, z, deep = (m[top:] for m in self.camera.ground_maps())
        scale = np.float32(GROUND_PX_PER_M)
        across, along = x * scale, (z + np.float32(self.camera.z_m % (512 / GROUND_PX_PER_M))) * scale
        detail = cv2.remap(ground(), across, along, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
        material = self.material[top:]
        kind = np.array([0, 1, 2, 0, 0, 0, 0, 0], np.uint8)[material]
        relief = detail[:, :, 0].copy()
        for channel in (1, 2):
            np.copyto(relief, detail[:, :, channel], where=kind == channel)
        fade = np.minimum(np.float32(1.0), np.float32(14.0) / deep)
        shine = (1.0 + (relief.astype(np.float32) - 128.0) * fade / 128.0) * self._wear(x)
        shadow = cv2.blur(self.lit[top:], (5, 3)).astype(np.float32) * np.float32(1 / 255)
        clear = np.exp(-np.float32(self.town.haze) * deep)
        gain = (shine * shadow * clear)[:, :, None]
        veil = ((1.0 - clear) * 0.86)[:, :, None] * np.array(self.town.sky_low, np.float32)
        colour = self._colours(light)[material] * gain + veil
        below = deep < np.float32(self.camera.focal_px * self.camera.height_m / 0.3)
        cv2.copyTo(np.minimum(colour, 255).astype(np.uint8), below.view(np.uint8), self.canvas.image[top:])
        np.copyto(self.canvas.labels[top:], _LABELS[material], where=below)

    def _wear(self, x: np.ndarray) -> np.ndarray:
        """Return the darker lanes between wheel tracks, a factor around 1."""
        lane = self.town.road_half_m * 0.5
        off = np.abs(np.abs(x) - lane)
        result: np.ndarray = 1.0 + np.float32(0.06) * np.clip(off - 0.9, -0.5, 0.5).astype(np.float32)
        return result

    def _colours(self, light: Light) -> np.ndarray:
        """Return the colour of each material in the light, (8, 3) float32."""
        road, paving = np.array(self.town.asphalt), np.array(self.town.paving)
        grass = np.array((44.0, 84.0, 78.0)) * (0.7 + 0.05 * (self.town.seed % 9))
        own = np.stack(
            [
                road,
                paving,
                grass,
                road * 0.35 + 140,
                road * 0.4 + (20, 110, 130),
                paving * 1.12 + 10,
                road * 0.62,
                road * 0.86,
            ]
        )
        result: np.ndarray = (own * np.array(light.town.light)).astype(np.float32)
        return result


def lay_street(ground_plan: Ground, *, chunks: list[Chunk]) -> None:
    """Lay verges, pavements, kerbs and markings of every chunk."""
    for part in reversed(chunks):
        near, far = part.index * CHUNK_M, (part.index + 1) * CHUNK_M
        for side in (-1, 1):
            _lay_side(ground_plan, part=part, side=side, z=(near, far))
        _mark(ground_plan, part=part, z=(near, far))


def _lay_side(plan: Ground, *, part: Chunk, side: int, z: tuple[float, float]) -> None:
    """Lay pavement and verge on one side; at a junction the side road leaves between rounded corners."""
    half, wide = plan.town.road_half_m, plan.town.pavement_m
    if side in part.junction:
        return
    verge = {"grass": _GRASS, "paving": _PAVING, "asphalt": _ASPHALT}[part.verge[(side + 1) // 2]]
    if verge != _ASPHALT:
        plan.strip(x=(side * (half + wide - 0.05), side * _WIDE_M), z=z, material=verge)
    plan.strip(x=(side * half, side * (half + wide)), z=z, material=_PAVING)
    plan.strip(x=(side * half, side * (half + 0.16)), z=z, material=_KERB)
    plan.strip(x=(side * (half - 0.3), side * half), z=z, material=_DARK)
    kind = (plan.town.seed * 7 + part.index // 5 * 3 + side) % 4
    if kind == 0:
        for inset in (0.42, 0.66):
            plan.strip(x=(side * (half - inset), side * (half - inset + 0.1)), z=z, material=_YELLOW)
    elif kind == 1:
        plan.strip(x=(side * (half - 0.5), side * (half - 0.38)), z=z, material=_WHITE)


def _mark(plan: Ground, *, part: Chunk, z: tuple[float, float]) -> None:  # noqa: PLR0912 - one branch a marking
    """Paint the centre line, now and then an arrow, zigzags, a stop line, a zebra crossing or a patched trench."""
    half = plan.town.road_half_m
    if z[0] > plan.camera.z_m + 75.0:  # a marking is less than a pixel high there
        plan.strip(x=(-0.06, 0.06), z=z, material=_WHITE)
        return
    rng = np.random.default_rng([plan.town.seed, 6, part.index + (1 << 40)])
    if rng.random() < 0.3:
        x = float(rng.uniform(-half, half - 1.5))
        plan.strip(x=(x, x + rng.uniform(0.6, 2.0)), z=(z[0] + 1, z[0] + rng.uniform(3, 11)), material=_PATCH)
    if rng.random() < 0.4:
        x, at = float(rng.uniform(-half + 0.5, half - 1.0)), float(z[0] + rng.uniform(1, 10))
        plan.strip(x=(x, x + 0.55), z=(at, at + 0.6), material=_DARK)
    if part.junction:
        for side in part.junction:
            plan.strip(x=(side * half, side * (half + 0.15)), z=(z[0] + 1.2, z[1] - 1.2), material=_WHITE)
        if rng.random() < 0.5:
            plan.strip(x=(-half + 0.3, 0.0), z=(z[0] - 1.6, z[0] - 1.2), material=_WHITE)
        return
    if rng.random() < 0.06:
        for x in np.arange(-half + 0.4, half - 0.6, 1.2):
            plan.strip(x=(float(x), float(x) + 0.6), z=(z[0] + 5.0, z[0] + 8.0), material=_WHITE)
    elif rng.random() < 0.12:
        _zigzag(plan, x=-half * rng.uniform(0.02, 0.9), z=z)
    period = 4.0 if plan.town.seed % 3 else 6.0
    for at in np.arange(z[0], z[1], period):
        plan.strip(x=(-0.06, 0.06), z=(float(at), float(at) + period * 0.55), material=_WHITE)
    if half > 5.2:
        for at in np.arange(z[0], z[1], 6.0):
            for x in (-half * 0.5, half * 0.5):
                plan.strip(x=(x - 0.05, x + 0.05), z=(float(at), float(at) + 2.0), material=_WHITE)
    if rng.random() < 0.1:
        _arrow(plan, x=-half * 0.5, z=z[0] + 3.0)


def _zigzag(plan: Ground, *, x: float, z: tuple[float, float]) -> None:
    """Paint the zigzag line that British roads have before a crossing."""
    knots = np.arange(z[0], z[1] + 0.1, 2.0)
    sway = x + 0.25 * (np.arange(len(knots)) % 2)
    left = np.stack([sway, knots], axis=1)
    right = np.stack([sway[::-1] + 0.12, knots[::-1]], axis=1)
    plan.fill(plan.material, np.concatenate([left, right]), _WHITE)


def _arrow(plan: Ground, *, x: float, z: float) -> None:
    """Paint a straight-on arrow."""
    shape = np.array([(-0.08, 0), (-0.08, 2.4), (-0.4, 2.4), (0, 4.2), (0.4, 2.4), (0.08, 2.4), (0.08, 0)])
    plan.fill(plan.material, shape + np.array((x, z)), _WHITE)


def cast_shadows(plan: Ground, *, chunks: list[Chunk], things: list[StreetObject]) -> None:
    """Darken the ground beside buildings and under objects, on the side away from the sun."""
    town = plan.town
    deep = int(255 * (1.0 - 0.75 * min(1.0, town.sun_strength)))
    away = -float(np.sign(town.sun_side))
    if town.sun_strength > 0.15:
        for part in chunks:
            for house in part.buildings:
                if house.side == -away:
                    front = house.side * (town.road_half_m + town.pavement_m + house.setback_m)
                    reach = front + away * house.high_m * abs(town.sun_side) * 0.8
                    near, far = house.near_m, house.far_m
                    quad = [(front, near), (front, far), (reach, far + 2), (reach, near + 2)]
                    plan.fill(plan.lit, np.array(quad), deep)
    for thing in things:
        _cast(plan, thing=thing, away=away, deep=deep)


def _cast(plan: Ground, *, thing: StreetObject, away: float, deep: int) -> None:
    """Darken the ground at an object's foot, and along its shadow if there is sun."""
    sizes = {"car": (1.0, 2.3), "tree": (0.5, 0.5), "bush": (0.7, 0.6)}
    half = sizes.get(thing.kind, (0.3, 0.3))
    ring = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    cos, sin = np.cos(thing.heading), np.sin(thing.heading)
    a, b = half[0] * 1.1 * np.cos(ring), half[1] * 1.05 * np.sin(ring)
    foot = np.stack([thing.x_m + a * cos + b * sin, thing.z_m - a * sin + b * cos], axis=1)
    if plan.town.sun_strength > 0.15 and thing.kind != "car":
        length = away * thing.high_m * abs(plan.town.sun_side) * 0.7
        crown = thing.high_m * 0.3 if thing.kind == "tree" else half[0] * 0.6
        far = np.stack([thing.x_m + length + crown * np.cos(ring), thing.z_m + 0.5 + crown * np.sin(ring)], axis=1)
        plan.fill(plan.lit, far, deep)
        x, z = thing.x_m, thing.z_m
        post = [(x, z - 0.12), (x + length, z + 0.4), (x + length, z + 0.6), (x, z + 0.12)]
        plan.fill(plan.lit, np.array(post), deep)
    plan.fill(plan.lit, foot, 80 if thing.kind == "car" else 150)
