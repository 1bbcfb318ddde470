"""The effects of lens and sensor on a clean image."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

from edgeseg.data.streets.textures import grain

if TYPE_CHECKING:
    from edgeseg.data.streets.world import Town


@lru_cache(maxsize=64)
def _tone_curve(exposure: float, contrast: float) -> np.ndarray:
    """Return a look-up table, (256,) uint8: exposure, an S-curve and highlights that roll off."""
    x = np.arange(256) / 255.0 * exposure
    middle = 0.34 * exposure
    x = np.where(x < middle, middle * (x / middle) ** contrast, x)
    x = np.where(x > 0.8, 0.8 + 0.22 * np.tanh((x - 0.8) / 0.22), x)
    curve: np.ndarray = np.clip(x * 255, 0, 255).astype(np.uint8)
    return curve


@lru_cache(maxsize=16)
def _falloff(high: int, width: int, strength: float) -> np.ndarray:
    """Return the lens's darkening towards the corners, (H, W, 3) float32."""
    y, x = np.mgrid[-1 : 1 : high * 1j, -1 : 1 : width * 1j]
    fall = 1.0 - strength * 0.5 * (x * x + y * y) ** 1.2
    return np.repeat(fall.astype(np.float32)[:, :, None], 3, axis=2)


def expose(image: np.ndarray, *, town: Town, shutter_px: float, draw: np.random.Generator) -> np.ndarray:
    """Return the sensor's image, (H, W, 3) uint8: blurred, vignetted, toned and noisy."""
    high, width = image.shape[:2]
    soft = cv2.GaussianBlur(image, (0, 0), town.softness_px)
    if shutter_px >= 1.5:
        length = int(shutter_px)
        soft = cv2.blur(soft, (length, 1) if draw.random() < 0.6 else (1, length))
    if town.vignette > 0.02:
        soft = cv2.multiply(soft, _falloff(high, width, town.vignette), dtype=cv2.CV_8U)
    toned = cv2.LUT(soft, _tone_curve(town.exposure, town.contrast))
    sheet = grain()
    noise_high, noise_width = min(high, 360), min(width, 480)
    y, x = int(draw.integers(0, 640 - noise_high + 1)), int(draw.integers(0, 1024 - noise_width + 1))
    noise = sheet[y : y + noise_high, x : x + noise_width]
    if (noise_high, noise_width) != (high, width):
        noise = cv2.resize(noise, (width, high), interpolation=cv2.INTER_NEAREST)
    return cv2.addWeighted(toned, 1.0, noise, town.noise, 0.0, dtype=cv2.CV_8U)
