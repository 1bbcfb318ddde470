"""What images look like as a whole, so that those of another day can be held against them."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgeseg.core.records import renamed


@dataclass(frozen=True, slots=True, kw_only=True)
class InputStatistics:
    """Pixel values in [0, 1] of the three channels (BGR) of images: mean, standard deviation, shares of 32 bins."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    histogram: tuple[tuple[float, ...], ...]
    images: int = field(metadata=renamed("pictures"))
