"""A pinhole camera on a curved road: from road coordinates to pixels and back.

Road coordinates are metres: `x` to the right of the centre line, `y` up from the road, `z` along the road.
The curve is a parabola seen from the camera, so a point keeps its place beside the road however the road turns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NEAR_M = 0.45


@dataclass(frozen=True, kw_only=True, slots=True)
class StreetCamera:
    """Pose and lens: metres, radians, pixels; `bend_per_m` is the road's curvature, `horizon_px` the horizon's row."""

    x_m: float
    z_m: float
    height_m: float
    yaw: float
    roll: float
    focal_px: float
    horizon_px: float
    bend_per_m: float
    width: int
    high: int

    def to_view(self, points: np.ndarray) -> np.ndarray:
        """Return points in the camera's frame, (N, 3) right, up, forward, from road coordinates (N, 3)."""
        forward = points[:, 2] - self.z_m
        right = points[:, 0] + 0.5 * self.bend_per_m * forward * forward - self.x_m
        cos, sin = np.cos(self.yaw), np.sin(self.yaw)
        view = np.empty((len(points), 3))
        view[:, 0] = right * cos - forward * sin
        view[:, 1] = points[:, 1] - self.height_m
        view[:, 2] = right * sin + forward * cos
        return view

    def to_pixels(self, view: np.ndarray) -> np.ndarray:
        """Return pixel positions (N, 2) of points in the camera's frame that lie beyond the near plane."""
        scale = self.focal_px / view[:, 2]
        pixels = np.empty((len(view), 2))
        pixels[:, 0] = view[:, 0] * scale
        pixels[:, 1] = self.horizon_px - view[:, 1] * scale + self.roll * pixels[:, 0]
        pixels[:, 0] += 0.5 * self.width
        return pixels

    def project(self, points: np.ndarray) -> np.ndarray | None:
        """Return the pixels of a polygon (N, 2), clipped at the near plane, or None if all of it is behind."""
        view = self.to_view(points)
        if view[:, 2].min() < NEAR_M:
            view = clip_near(view)
            if len(view) < 3:
                return None
        return self.to_pixels(view)

    def ground_maps(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return x, z and distance of the ground under every pixel, each (high, width) float32, metres.

        Above the horizon the distance is capped; the sky covers those pixels.
        """
        u = np.arange(self.width, dtype=np.float32) - np.float32(0.5 * self.width)
        v = np.arange(self.high, dtype=np.float32)[:, None] - np.float32(self.horizon_px)
        drop = np.maximum(v - np.float32(self.roll) * u, np.float32(0.25))
        deep = np.float32(self.focal_px * self.height_m) / drop
        right = deep * (u / np.float32(self.focal_px))
        cos, sin = np.float32(np.cos(self.yaw)), np.float32(np.sin(self.yaw))
        forward = deep * cos - right * sin
        side = right * cos + deep * sin
        x = side - np.float32(0.5 * self.bend_per_m) * forward * forward + np.float32(self.x_m)
        return x, forward, deep


def clip_near(view: np.ndarray) -> np.ndarray:
    """Return the part of a polygon (N, 3) beyond the near plane (Sutherland and Hodgman 1974, one plane)."""
    kept: list[np.ndarray] = []
    before = view[-1]
    for point in view:
        if (point[2] >= NEAR_M) != (before[2] >= NEAR_M):
            share = (NEAR_M - before[2]) / (point[2] - before[2])
            kept.append(before + share * (point - before))
        if point[2] >= NEAR_M:
            kept.append(point)
        before = point
    return np.array(kept)
