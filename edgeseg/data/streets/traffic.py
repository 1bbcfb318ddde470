"""Moving cars, cyclists and people: positions are a function of time alone, without end."""

from __future__ import annotations

import numpy as np

from edgeseg.data.streets.world import StreetObject, Town, chunk

_SPAN_M = 130.0
_BEHIND_M = 8.0


def moving(town: Town, *, time_s: float, camera_z_m: float) -> list[StreetObject]:
    """Return everything that moves, at its position at this time.

    Each track carries one traveller at a time around a loop as long as the view; whoever leaves it behind the
    camera or at the far end returns at the other end as another traveller.
    """
    rng = np.random.default_rng([town.seed, 7])
    items = []
    for lane in _lanes(town, rng):
        kind, x, speed, start, track, high = lane
        place = start + speed * time_s - camera_z_m
        lap = int(np.floor(place / _SPAN_M))
        z = camera_z_m + place - lap * _SPAN_M - _BEHIND_M
        who = np.random.default_rng([town.seed, 8, track, lap + (1 << 40)])
        if who.random() < 0.15:
            continue
        pick, tall = float(who.random()), high * float(who.uniform(0.93, 1.07))
        turn = 0.0
        if kind == "car":
            turn = 0.0 if speed > 0 else np.pi
        elif kind in ("walker", "cyclist", "cyclist_side"):
            turn = float(time_s * 5.5 + track)
        items.append(StreetObject(kind=kind, x_m=x, z_m=z, high_m=tall, pick=pick, heading=turn))
    return (
        items
        + _leader(town, time_s=time_s, camera_z_m=camera_z_m)
        + _crossing(town, camera_z_m=camera_z_m, time_s=time_s)
    )


def _lanes(town: Town, rng: np.random.Generator) -> list[tuple[str, float, float, float, int, float]]:
    """Return the tracks of a town: kind, place across the road, speed, start, number and height."""
    lanes: list[tuple[str, float, float, float, int, float]] = []
    half = town.road_half_m
    inner = half - (2.2 if half > 4.2 else 0.0)
    for _ in range(int(rng.integers(0, int(2 + 5 * town.traffic)))):
        x = max(1.2, inner * rng.uniform(0.4, 0.6)) + (0.0 if half < 5.4 else rng.choice([0.0, 1.4]))
        lanes.append(("car", float(x), -float(rng.uniform(6, 11)), float(rng.uniform(0, _SPAN_M)), len(lanes), 1.0))
    for _ in range(int(rng.integers(0, int(2 + 12 * town.people)))):
        side = float(rng.choice([-1, 1]))
        x = side * (half + 0.4 + rng.uniform(0, town.pavement_m - 0.5))
        speed = float(rng.choice([-1, 1]) * rng.uniform(0.8, 1.7))
        lanes.append(("walker", float(x), speed, float(rng.uniform(0, _SPAN_M)), len(lanes), 1.7))
    for _ in range(int(rng.integers(0, int(1 + 3 * town.people)))):
        side = float(rng.choice([-1, 1], p=[0.65, 0.35]))
        x = side * (inner - 0.5)
        kind = "cyclist" if rng.random() < 0.75 else "cyclist_side"
        lanes.append(
            (kind, float(x), -side * float(rng.uniform(3, 6)), float(rng.uniform(0, _SPAN_M)), len(lanes), 1.72)
        )
    return lanes


def _leader(town: Town, *, time_s: float, camera_z_m: float) -> list[StreetObject]:
    """Return the car that drives ahead in the camera's lane, in most towns with some."""
    rng = np.random.default_rng([town.seed, 9])
    if rng.random() > 0.6 * town.traffic:
        return []
    gap = float(rng.uniform(9, 32)) + 2.5 * float(np.sin(0.31 * time_s + rng.uniform(0, 6)))
    return [
        StreetObject(
            kind="car",
            x_m=town.camera_x_m + float(rng.normal(0, 0.2)),
            z_m=camera_z_m + gap,
            high_m=1.0,
            pick=float(rng.random()),
        )
    ]


def _crossing(town: Town, *, time_s: float, camera_z_m: float) -> list[StreetObject]:
    """Return cars and people that cross at the junctions in view."""
    items = []
    first = int(camera_z_m // 12)
    for index in range(first + 1, first + 9):
        part = chunk(town.seed, index)
        if len(part.junction) == 0:
            continue
        rng = np.random.default_rng([town.seed, 10, index + (1 << 40)])
        side = float(part.junction[0])
        if rng.random() < 0.6:
            items.append(
                StreetObject(
                    kind="car",
                    x_m=side * (town.road_half_m + rng.uniform(2, 9)),
                    z_m=index * 12.0 + 4.0,
                    high_m=1.0,
                    pick=float(rng.random()),
                    heading=-side * np.pi / 2,
                )
            )
        speed, phase = float(rng.uniform(0.9, 1.5)), float(rng.uniform(0, 30))
        x = side * (town.road_half_m + 0.5) + ((time_s * speed + phase) % 30.0 - 15.0)
        if rng.random() < town.people and abs(x) > town.road_half_m * 0.4:
            kind = "walker" if rng.random() < 0.75 else "cyclist_side"
            items.append(
                StreetObject(
                    kind=kind,
                    x_m=float(x),
                    z_m=index * 12.0 + 1.0,
                    high_m=1.7,
                    pick=float(rng.random()),
                    heading=float(time_s * 5.5),
                )
            )
    return items
