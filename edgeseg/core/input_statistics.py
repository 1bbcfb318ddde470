"""Statistics of input images, for comparing later images with them."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgeseg.core.records import renamed


@dataclass(frozen=True, slots=True, kw_only=True)
class InputStatistics:
    """Mean, standard deviation and a 32-bin histogram (shares) of pixel values in [0, 1], for each channel (BGR)."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    histogram: tuple[tuple[float, ...], ...]
    images: int = field(metadata=renamed("pictures"))
