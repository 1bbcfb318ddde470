"""Light of one frame: how strongly a surface is lit, and how much haze is in front of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeseg.data.streets.world import Town

if TYPE_CHECKING:
    from edgeseg.data.streets.palette import PaintColour


@dataclass(frozen=True, kw_only=True, slots=True)
class Light:
    """Converts a surface's own colour to its colour in the image, by distance."""

    town: Town

    def factors(self, *, distance_m: float, facing: float = 0.8) -> tuple[PaintColour, PaintColour]:
        """Return (gain, haze): seen = own * gain + haze. `facing` is 1 in full light, 0 in the shade."""
        clear = float(np.exp(-self.town.haze * max(distance_m, 0.0)))
        shade = (1.0 - self.town.sun_strength * (0.8 - facing) * 0.75) * clear
        veil = (1.0 - clear) * 0.86
        b, g, r = self.town.light
        low = self.town.sky_low
        return (b * shade, g * shade, r * shade), (low[0] * veil, low[1] * veil, low[2] * veil)

    def seen(self, colour: PaintColour, *, distance_m: float, facing: float = 0.8) -> PaintColour:
        """Return a plain surface's colour in the image, 0..255."""
        gain, haze = self.factors(distance_m=distance_m, facing=facing)
        b, g, r = (min(255.0, c * k + v) for c, k, v in zip(colour, gain, haze, strict=True))
        return b, g, r

    def side(self, side: int) -> float:
        """Return how well a wall on the left (-1) or right (1) of the road is lit."""
        return 0.8 + 0.45 * float(np.clip(-self.town.sun_side * side, -1, 1))
