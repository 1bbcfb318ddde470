"""An image and its label map, painted together: every stroke sets the same pixels in both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from edgeseg.data.streets.palette import PaintColour

_SHIFT = 4  # fractional bits of a coordinate, so that a moving camera does not make edges jump
_REACH_PX = 20000.0  # beyond this, OpenCV's fixed-point coordinates overflow


def fixed(points: np.ndarray) -> np.ndarray:
    """Return pixel positions (N, 2) as OpenCV's fixed-point integers."""
    near = np.minimum(np.maximum(points, -_REACH_PX), _REACH_PX)
    result: np.ndarray = np.rint(near * (1 << _SHIFT)).astype(np.int32)
    return result


def lit(patch: np.ndarray, *, gain: PaintColour, haze: PaintColour) -> np.ndarray:
    """Return patch * gain + haze, (h, w, 3) uint8."""
    # OpenCV takes four numbers as one pixel for the whole image; its type stubs only allow arrays.
    own = cv2.multiply(patch, np.array((*gain, 0.0)))
    return np.asarray(cv2.add(own, np.array((*haze, 0.0))))


class Canvas:
    """An image (H, W, 3) uint8 BGR and its labels (H, W) uint8."""

    def __init__(self, *, high: int, width: int) -> None:
        self.image = np.zeros((high, width, 3), np.uint8)
        self.labels = np.zeros((high, width), np.uint8)
        self.high = high
        self.width = width

    def outside(self, pixels: np.ndarray) -> bool:
        """Return whether a shape's bounding box misses the image."""
        x, y = pixels[:, 0], pixels[:, 1]
        return bool(x.max() < 0 or y.max() < 0 or x.min() >= self.width or y.min() >= self.high)

    def polygon(self, pixels: np.ndarray | None, *, colour: PaintColour, label: int) -> None:
        """Fill a polygon (N, 2) of any shape."""
        if pixels is None or self.outside(pixels):
            return
        shape = [fixed(pixels)]
        cv2.fillPoly(self.image, shape, colour, cv2.LINE_8, _SHIFT)
        cv2.fillPoly(self.labels, shape, label, cv2.LINE_8, _SHIFT)

    def tint(self, pixels: np.ndarray | None, *, colour: PaintColour) -> None:
        """Fill a polygon in the image alone, for details inside a labelled shape."""
        if pixels is None or self.outside(pixels):
            return
        cv2.fillPoly(self.image, [fixed(pixels)], colour, cv2.LINE_8, _SHIFT)

    def line(self, start: np.ndarray, end: np.ndarray, *, width_px: float, colour: PaintColour, label: int) -> None:
        """Draw a bar between two pixel positions; thinner than a pixel is drawn one pixel wide."""
        both = np.array((start, end))
        if self.outside(both):
            return
        ends = fixed(both)
        a, b = (int(ends[0, 0]), int(ends[0, 1])), (int(ends[1, 0]), int(ends[1, 1]))
        thick = max(1, round(width_px))
        cv2.line(self.image, a, b, colour, thick, cv2.LINE_8, _SHIFT)
        cv2.line(self.labels, a, b, label, thick, cv2.LINE_8, _SHIFT)

    def disc(self, centre: np.ndarray, *, radii: tuple[float, float], colour: PaintColour, label: int) -> None:
        """Fill an upright ellipse with radii in pixels."""
        c = fixed(np.asarray(centre)[None])[0]
        axes = (max(1, round(radii[0] * 16)), max(1, round(radii[1] * 16)))
        box = (int(c[0]), int(c[1]))
        cv2.ellipse(self.image, box, axes, 0, 0, 360, colour, -1, cv2.LINE_8, _SHIFT)
        cv2.ellipse(self.labels, box, axes, 0, 0, 360, label, -1, cv2.LINE_8, _SHIFT)

    def box(self, pixels: np.ndarray) -> tuple[int, int, int, int] | None:
        """Return left, top, right, bottom of a shape inside the image, or None if it is outside."""
        low = np.floor(pixels.min(axis=0))
        top = np.ceil(pixels.max(axis=0)) + 1
        x0, y0 = max(0, int(low[0])), max(0, int(low[1]))
        x1, y1 = min(self.width, int(top[0])), min(self.high, int(top[1]))
        return (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None

    def texture(
        self, corners: np.ndarray, texture: np.ndarray, *, gain: PaintColour, haze: PaintColour, label: int
    ) -> None:
        """Stretch a texture over four corners (top left, top right, bottom right, bottom left)."""
        box = self.box(corners)
        if box is None:
            return
        x0, y0, x1, y1 = box
        size = (x1 - x0, y1 - y0)
        high, width = texture.shape[:2]
        source = np.array([[0, 0], [width, 0], [width, high], [0, high]], np.float32)
        local = np.clip(corners, -_REACH_PX, _REACH_PX) - (x0, y0)
        matrix = cv2.getPerspectiveTransform(source, local.astype(np.float32))
        patch = cv2.warpPerspective(texture, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        patch = lit(patch, gain=gain, haze=haze)
        mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
        cv2.fillConvexPoly(mask, fixed(local), 1, cv2.LINE_8, _SHIFT)
        cv2.copyTo(patch, mask, self.image[y0:y1, x0:x1])
        np.copyto(self.labels[y0:y1, x0:x1], np.uint8(label), where=mask.view(bool))

    def sprite(
        self,
        sprite: np.ndarray,
        *,
        foot: np.ndarray,
        size: tuple[float, float],
        gain: PaintColour,
        haze: PaintColour,
        label: int,
    ) -> None:
        """Stand a BGRA sprite (h, w, 4) on a pixel, (width, height) pixels large; labelled where alpha > 0."""
        wide, tall = max(2, round(size[0])), max(2, round(size[1]))
        left, top = round(foot[0] - 0.5 * size[0]), round(foot[1] - size[1])
        x0, y0 = max(0, left), max(0, top)
        x1, y1 = min(self.width, left + wide), min(self.high, top + tall)
        if x1 <= x0 or y1 <= y0:
            return
        scale = np.array(
            [
                [sprite.shape[1] / wide, 0.0, (x0 - left + 0.5) * sprite.shape[1] / wide - 0.5],
                [0.0, sprite.shape[0] / tall, (y0 - top + 0.5) * sprite.shape[0] / tall - 0.5],
            ]
        )
        patch = cv2.warpAffine(sprite, scale, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        alpha = patch[:, :, 3]
        colour = lit(patch[:, :, :3], gain=gain, haze=haze)
        under = self.image[y0:y1, x0:x1]
        blend = cv2.cvtColor(alpha, cv2.COLOR_GRAY2BGR)
        kept = cv2.multiply(under, 255 - blend, scale=1 / 255)
        seen = alpha >= 48  # fainter than this, image and label stay unchanged
        mixed = cv2.add(kept, cv2.multiply(colour, blend, scale=1 / 255))
        cv2.copyTo(mixed, seen.view(np.uint8), under)
        np.copyto(self.labels[y0:y1, x0:x1], np.uint8(label), where=seen)
