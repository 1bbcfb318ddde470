"""Images and endless video of a seeded town, with exact labels."""

from __future__ import annotations

import numpy as np

from edgeseg.data.streets.camera import StreetCamera
from edgeseg.data.streets.scene import paint_scene
from edgeseg.data.streets.sensor import expose
from edgeseg.data.streets.world import Town, town

Size = tuple[int, int]


def _camera(
    place: Town, *, size: Size, x_m: float, z_m: float, yaw: float, pitch_px: float, roll: float, bend: float
) -> StreetCamera:
    """Return the camera of a town at a position."""
    high, width = size
    return StreetCamera(
        x_m=x_m,
        z_m=z_m,
        height_m=place.camera_height_m,
        yaw=yaw,
        roll=roll,
        focal_px=place.focal_share * width,
        horizon_px=place.horizon_share * high + pitch_px,
        bend_per_m=bend,
        width=width,
        high=high,
    )


def render_street(seed: int, *, size: Size = (360, 480)) -> tuple[np.ndarray, np.ndarray]:
    """Return one image (H, W, 3) uint8 BGR and its labels (H, W) uint8; the same seed gives the same bytes.

    Every seed is its own town with its own light, lens and moment; `size` is (height, width).
    """
    place = town(seed)
    rng = np.random.default_rng([seed, 20])
    half = place.road_half_m
    x = place.camera_x_m if rng.random() < 0.7 else float(rng.uniform(-half + 0.8, half - 0.8))
    yaw = float(rng.normal(0, 0.04)) if rng.random() < 0.72 else float(rng.uniform(-0.42, 0.42))
    camera = _camera(
        place,
        size=size,
        x_m=x,
        z_m=float(rng.uniform(0, 2000)),
        yaw=yaw,
        pitch_px=float(rng.normal(0, 0.016 * size[0])),
        roll=float(rng.normal(0, 0.012)),
        bend=place.bend,
    )
    canvas = paint_scene(place, camera, time_s=float(rng.uniform(0, 600)))
    shutter = float(rng.exponential(1.1)) * size[1] / 480
    return expose(canvas.image, town=place, shutter_px=shutter, draw=rng), canvas.labels


class StreetVideo:
    """An endless drive through the town of a seed; frame i depends only on (seed, i)."""

    def __init__(self, seed: int, *, size: Size = (360, 480), fps: float = 30.0) -> None:
        self.seed = seed
        self.size = size
        self.fps = fps

    def frame(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return frame `index` (from 0), an image (H, W, 3) uint8 BGR and its labels (H, W) uint8."""
        place = town(self.seed)
        t = index / self.fps
        rng = np.random.default_rng([self.seed, 21])
        speed = float(rng.uniform(5.5, 9.5))
        a, b, c, d = (float(v) for v in rng.uniform(0, 2 * np.pi, 4))
        swing = speed * 0.3 / 0.23  # the speed varies by 30 % and never becomes negative
        z = speed * t + swing * (np.sin(0.23 * t + a) - np.sin(a))
        bounce = size_share = self.size[0] / 360
        camera = _camera(
            place,
            size=self.size,
            x_m=place.camera_x_m + 0.3 * np.sin(0.41 * t + b),
            z_m=float(z),
            yaw=0.03 * np.sin(0.27 * t + c) + 0.006 * np.sin(1.9 * t),
            pitch_px=bounce * (1.6 * np.sin(2.3 * t + d) + 0.7 * np.sin(7.1 * t)),
            roll=0.008 * np.sin(0.9 * t + a),
            bend=place.bend + 0.0018 * np.sin(0.11 * t + d),
        )
        canvas = paint_scene(place, camera, time_s=t)
        draw = np.random.default_rng([self.seed, 22, index])
        return expose(canvas.image, town=place, shutter_px=1.0 * size_share, draw=draw), canvas.labels
