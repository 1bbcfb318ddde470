"""The objects of a seeded town: endless, since every 12 m of road follow from (seed, position) alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from edgeseg.data.streets.palette import PaintColour, colour_of
from edgeseg.data.streets.textures import FACADE_COUNT

CHUNK_M = 12.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Town:
    """The settings of a whole world: light, road and lens. Colours are BGR factors or 0..255."""

    seed: int
    light: PaintColour
    sky_top: PaintColour
    sky_low: PaintColour
    cloud: float
    haze: float
    sun_side: float
    sun_strength: float
    exposure: float
    contrast: float
    noise: float
    softness_px: float
    vignette: float
    road_half_m: float
    pavement_m: float
    camera_x_m: float
    camera_height_m: float
    focal_share: float
    horizon_share: float
    asphalt: PaintColour
    paving: PaintColour
    built: float
    leafy: float
    traffic: float
    people: float
    parking: float
    bend: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Building:
    """One building: its side of the road (-1 or 1), its reach along the road, its distance from it and its height."""

    side: int
    near_m: float
    far_m: float
    setback_m: float
    high_m: float
    depth_m: float
    roof_m: float
    facade: int
    tint: PaintColour
    roof: PaintColour
    slice: float
    chimney: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class StreetObject:
    """A standing object: `kind` names its painter, `x_m` and `z_m` its foot, `pick` (0..1) its variant."""

    kind: str
    x_m: float
    z_m: float
    high_m: float
    pick: float
    heading: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class RoadsideStrip:
    """A fence, hedge or wall along the road."""

    kind: str
    side: int
    x_m: float
    near_m: float
    far_m: float
    high_m: float
    pick: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Chunk:
    """12 m of street; `junction` holds the sides (-1, 1) where a road joins, `verge` the strip beside the pavement."""

    index: int
    junction: tuple[int, ...]
    verge: tuple[str, str]
    buildings: tuple[Building, ...]
    strips: tuple[RoadsideStrip, ...]
    back: tuple[StreetObject, ...]
    items: tuple[StreetObject, ...]


@lru_cache(maxsize=64)
def town(seed: int) -> Town:
    """Return the town of a seed."""
    rng = np.random.default_rng([seed, 1])
    mood = rng.choice(["white", "clear", "dull", "dusk", "low_sun"], p=[0.36, 0.2, 0.18, 0.16, 0.10])
    warm = {"white": 0.0, "clear": 0.03, "dull": -0.05, "dusk": -0.06, "low_sun": 0.13}[mood] + rng.normal(0, 0.025)
    top, low = {
        "white": ((250, 246, 238), (255, 254, 252)),
        "clear": ((215, 165, 110), (250, 240, 222)),
        "dull": ((205, 202, 196), (236, 234, 230)),
        "dusk": ((168, 156, 142), (232, 226, 208)),
        "low_sun": ((226, 196, 160), (214, 236, 252)),
    }[mood]
    strength = {"white": 0.35, "clear": 0.6, "dull": 0.08, "dusk": 0.1, "low_sun": 0.6}[mood]
    grey = rng.uniform(84, 142)
    return Town(
        seed=seed,
        light=(1.0 - warm, 1.0, 1.0 + warm),
        sky_top=colour_of(np.array(top)),
        sky_low=colour_of(np.array(low)),
        cloud=float(rng.uniform(2, 26) if mood != "white" else rng.uniform(0, 10)),
        haze=float(rng.uniform(0.0012, 0.0065)),
        sun_side=float(rng.choice([-1.0, 1.0]) * rng.uniform(0.3, 1.5)),
        sun_strength=strength * rng.uniform(0.6, 1.1),
        exposure=float(rng.uniform(0.5, 0.85) if mood == "dusk" else rng.uniform(0.75, 1.2)),
        contrast=float(rng.uniform(0.95, 1.4)),
        noise=float(rng.uniform(0.1, 0.55)),
        softness_px=float(rng.uniform(0.45, 0.95)),
        vignette=float(rng.uniform(0.0, 0.3)),
        road_half_m=float(rng.uniform(3.4, 6.2)),
        pavement_m=float(rng.uniform(1.5, 3.6)),
        camera_x_m=float(rng.uniform(-2.4, -1.1)),
        camera_height_m=float(rng.uniform(1.15, 1.7)),
        focal_share=float(rng.uniform(0.82, 1.2)),
        horizon_share=float(rng.uniform(0.46, 0.56)),
        asphalt=_tone(rng, grey, 5),
        paving=_tone(rng, grey * rng.uniform(0.85, 1.35), 7),
        built=float(rng.beta(2.2, 0.8)),
        leafy=float(rng.beta(1.2, 1.2)),
        traffic=float(rng.uniform(0.3, 1.0)),
        people=float(rng.uniform(0.2, 1.0)),
        parking=float(rng.beta(0.9, 1.1)),
        bend=float(rng.normal(0, 0.0022)),
    )


def _tone(rng: np.random.Generator, grey: float, spread: float) -> PaintColour:
    """Return a grey with a slight cast."""
    b, g, r = (float(np.clip(grey + v, 8, 235)) for v in rng.normal(0, spread, 3))
    return b, g, r


@lru_cache(maxsize=512)
def chunk(seed: int, index: int) -> Chunk:
    """Return the 12 m of street with this index (any integer) in the world of this seed."""
    place = town(seed)
    rng = np.random.default_rng([seed, 2, index + (1 << 40)])
    zone = np.random.default_rng([seed, 3, index // 9 + (1 << 40)])
    built = float(np.clip(place.built + zone.normal(0, 0.25), 0.05, 0.98))
    facades = tuple(int(v) for v in zone.integers(0, FACADE_COUNT, 5))
    base_high, setback = float(zone.uniform(5.0, 13.0)), float(max(0.0, zone.normal(0.6, 2.6)))
    verge_kind = str(zone.choice(["paving", "grass", "asphalt"], p=[0.5, 0.3, 0.2]))
    junction = _junction(seed, index)
    buildings: list[Building] = []
    strips: list[RoadsideStrip] = []
    back: list[StreetObject] = []
    verge = ["asphalt", "asphalt"]
    for side in (-1, 1):
        if side in junction:
            continue
        has = rng.random() < built
        verge[(side + 1) // 2] = verge_kind if has else str(rng.choice(["grass", verge_kind]))
        if has:
            buildings += _row(
                rng,
                place=place,
                side=side,
                start_m=index * CHUNK_M,
                high_m=base_high,
                setback_m=setback,
                facades=facades,
            )
        strips += _strips(rng, place=place, side=side, start_m=index * CHUNK_M, gap=setback, has=has)
        back += _garden(rng, place=place, side=side, start_m=index * CHUNK_M, has=has, setback_m=setback)
    return Chunk(
        index=index,
        junction=junction,
        verge=(verge[0], verge[1]),
        buildings=tuple(buildings),
        strips=tuple(strips),
        back=tuple(back),
        items=_furniture(rng, place=place, index=index, junction=junction),
    )


@lru_cache(maxsize=1024)
def _junction(seed: int, index: int) -> tuple[int, ...]:
    """Return the sides on which another road joins; at most one chunk in a block of seven."""
    rng = np.random.default_rng([seed, 4, index // 7 + (1 << 40)])
    if index % 7 != int(rng.integers(1, 6)) or rng.random() < 0.25:
        return ()
    return ((-1,), (1,), (-1, 1))[int(rng.integers(3))]


def _row(
    rng: np.random.Generator,
    *,
    place: Town,
    side: int,
    start_m: float,
    high_m: float,
    setback_m: float,
    facades: tuple[int, ...],
) -> list[Building]:
    """Return one or two houses that fill a chunk's frontage, sometimes with an alley."""
    cuts = (0.0, CHUNK_M) if rng.random() < 0.45 else (0.0, float(rng.uniform(5, 7)), CHUNK_M)
    gap = 0.0 if rng.random() < 0.7 else float(rng.uniform(0.8, 3.0))
    houses = []
    for near, far in pairwise(cuts):
        pitched = rng.random() < 0.65
        tint = rng.uniform(0.55, 1.15) * (1 + rng.normal(0, 0.035, 3))
        roof = np.array((58, 60, 72)) * rng.uniform(0.6, 1.5) + rng.normal(0, 8, 3)
        houses.append(
            Building(
                side=side,
                near_m=start_m + near,
                far_m=start_m + far - gap,
                high_m=max(3.2, high_m + rng.normal(0, 1.6)),
                setback_m=max(0.0, setback_m + rng.normal(0, 0.5)),
                depth_m=float(rng.uniform(7, 12)),
                roof_m=float(rng.uniform(1.5, 3.6)) if pitched else 0.0,
                facade=int(rng.choice(facades)),
                tint=colour_of(tint),
                roof=colour_of(np.clip(roof, 15, 160)),
                slice=float(rng.random()),
                chimney=bool(pitched and rng.random() < 0.6),
            )
        )
    return houses


def _strips(
    rng: np.random.Generator, *, place: Town, side: int, start_m: float, gap: float, has: bool
) -> list[RoadsideStrip]:
    """Return the boundary of the pavement: nothing, a fence, railings, a hedge or a wall."""
    chance = 0.5 if has and gap > 1.2 else (0.8 if not has else 0.09)
    if rng.random() > chance:
        return []
    kind = str(rng.choice(["panels", "railing", "hedge", "wall"], p=[0.22, 0.3, 0.33, 0.15]))
    tall = {"panels": (1.3, 2.2), "railing": (0.9, 1.5), "hedge": (0.9, 2.6), "wall": (0.6, 2.0)}[kind]
    x = side * (place.road_half_m + place.pavement_m + 0.15)
    return [
        RoadsideStrip(
            kind=kind,
            side=side,
            x_m=x,
            near_m=start_m,
            far_m=start_m + CHUNK_M,
            high_m=float(rng.uniform(*tall)),
            pick=float(rng.random()),
        )
    ]


def _garden(
    rng: np.random.Generator, *, place: Town, side: int, start_m: float, has: bool, setback_m: float
) -> list[StreetObject]:
    """Return trees and bushes behind the pavement; dense where there are no buildings."""
    items = []
    edge = place.road_half_m + place.pavement_m
    count = int(rng.poisson(0.5 + 1.0 * place.leafy if has else 1.6 + 3.0 * place.leafy))
    for _ in range(min(count, 5)):
        room = max(0.4, setback_m - 0.5) if has else 16.0
        x = side * (edge + 0.5 + rng.uniform(0, room))
        bush = rng.random() < 0.35 or (has and setback_m < 1.5)
        if has and setback_m < 0.8:
            continue
        high = rng.uniform(0.8, 2.4) if bush else rng.uniform(4.5, 14.0)
        items.append(
            StreetObject(
                kind="bush" if bush else "tree",
                x_m=x,
                z_m=start_m + rng.uniform(0, CHUNK_M),
                high_m=float(high),
                pick=float(rng.random()),
            )
        )
    return sorted(items, key=lambda item: -item.z_m)


def _furniture(
    rng: np.random.Generator, *, place: Town, index: int, junction: tuple[int, ...]
) -> tuple[StreetObject, ...]:
    """Return the objects on the pavement and at the kerb: lamps, signs, lights, street trees, parked cars, cycles."""
    items: list[StreetObject] = []
    start, half = index * CHUNK_M, place.road_half_m

    def put(kind: str, x: float, low: float, high: float, *, at: float | None = None, heading: float = 0.0) -> None:
        z = start + (rng.uniform(0.5, CHUNK_M - 0.5) if at is None else at)
        items.append(
            StreetObject(
                kind=kind,
                x_m=x,
                z_m=float(z),
                high_m=float(rng.uniform(low, high)),
                pick=float(rng.random()),
                heading=heading,
            )
        )

    if index % 2 == 0:
        put("lamp", (-1 if index % 4 else 1) * (half + rng.uniform(0.4, place.pavement_m)), 5.0, 9.0)
    for side in (-1, 1):
        kerb = side * (half + 0.45)
        if side in junction:
            continue
        near_junction = bool(_junction(place.seed, index - 1) or _junction(place.seed, index + 1))
        if near_junction and rng.random() < 0.65:
            put("lights", kerb, 2.6, 3.6)
        for kind, chance, low, high in (
            ("sign", 0.34, 2.0, 3.4),
            ("post", 0.28, 2.5, 7.0),
            ("bollard", 0.22, 0.8, 1.2),
            ("banner", 0.2, 2.8, 5.5),
            ("bin", 0.05, 1.0, 1.3),
        ):
            if rng.random() < chance:
                put(kind, kerb + side * rng.uniform(0, place.pavement_m * 0.8), low, high)
        if rng.random() < 0.3 * place.leafy:
            put("tree", kerb + side * rng.uniform(0.3, 1.5), 3.5, 8.5)
        if rng.random() < 0.05 + 0.2 * place.people:
            put("stander", kerb + side * rng.uniform(0, place.pavement_m), 1.5, 1.9)
        if rng.random() < 0.07:
            put("cycle", kerb + side * rng.uniform(0, 0.8), 1.0, 1.1, heading=float(rng.uniform(-0.6, 0.6)))
        if half > 4.2 and not near_junction and rng.random() < 0.8 * place.parking:
            for at in (3.0, 8.6) if rng.random() < 0.7 else (5.0,):
                put("car", side * (half - 1.05), 1.0, 1.0, at=at, heading=0.0 if side < 0 else np.pi)
        elif rng.random() < 0.12 * place.parking:
            put("car", side * (half + place.pavement_m + 3.0), 1.0, 1.0, heading=float(rng.uniform(-1.6, 1.6)))
    return tuple(sorted(items, key=lambda item: -item.z_m))
