"""Rules for decoding image files: the largest size, and the black and white values of 16-bit images."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from edgeseg.errors import InputError

MAX_PIXELS = 200_000_000
"""Default limit of height times width: 600 MB of decoded pixels."""

MAX_PIXELS_VARIABLE, RANGE_VARIABLE = "EDGESEG_MAX_PIXELS", "EDGESEG_IMAGE_RANGE"
PERCENTILES = (0.5, 99.5)

PixelRange = tuple[float, float] | Literal["percentile"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """Rules for decoding; None means the environment variable's value, else the default.

    `range` is needed for images of more than 8 bits: (low, high) become 0 and 255, "percentile" uses each image's own
    0.5 % and 99.5 % quantiles. Without it such images are refused, since a guess would change the net's input.
    """

    max_pixels: int | None = None
    range: PixelRange | None = None

    def __post_init__(self) -> None:
        if self.max_pixels is not None and self.max_pixels < 1:
            raise ValueError(f"max_pixels = {self.max_pixels}: give 1 or more.")
        if isinstance(self.range, tuple) and not -float("inf") < self.range[0] < self.range[1] < float("inf"):
            raise ValueError(f"range = {list(self.range)}: give [low, high] with low < high.")

    def over(self, other: Decoding) -> Decoding:
        """Return these rules, filled in from `other` where a value is None."""
        return Decoding(
            max_pixels=other.max_pixels if self.max_pixels is None else self.max_pixels,
            range=other.range if self.range is None else self.range,
        )

    def resolved(self) -> Decoding:
        """Return these rules, filled in from the environment and the defaults.

        Raises:
            InputError: EDGESEG_MAX_PIXELS is not a whole number, or EDGESEG_IMAGE_RANGE not LOW:HIGH or percentile.
        """
        return self.over(Decoding(max_pixels=_environment_pixels(), range=_environment_range()))


def _environment_pixels() -> int:
    text = os.environ.get(MAX_PIXELS_VARIABLE, "")
    if not text:
        return MAX_PIXELS
    if not (text.isascii() and text.isdigit() and int(text[:18])):
        raise InputError(f"{MAX_PIXELS_VARIABLE} is {text!r}; give a whole number of pixels, for example {MAX_PIXELS}.")
    return int(text)


def _environment_range() -> PixelRange | None:
    text = os.environ.get(RANGE_VARIABLE, "")
    if not text:
        return None
    if text == "percentile":
        return "percentile"
    low, _, high = text.partition(":")
    try:
        limits = float(low), float(high)
        Decoding(range=limits)
    except ValueError:
        raise InputError(f"{RANGE_VARIABLE} is {text!r}; give LOW:HIGH (such as 0:4095), or percentile.") from None
    return limits
