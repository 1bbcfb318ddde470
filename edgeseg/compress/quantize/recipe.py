"""The settings of quantization-aware training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class QatRecipe:
    """How activation ranges are trained; weight scales always come from the largest values."""

    mode: Literal["learned", "ema"] = "learned"
    """Train ranges like weights, or track the lowest and highest value of each batch by a moving average."""
    freeze_after: float = 0.8
    """Share of the run's steps after which ranges are frozen; 1 means never."""
    range_rate: float = 1.0
    """Learned: factor on the learning rate for ranges. A step of 0.01 moves an end of a range by about 1 %."""
    ema_rate: float = 0.01
    """EMA: weight of a batch's lowest and highest value in the moving average."""
    float_layers: tuple[str, ...] = ()
    """Paths of modules that stay in float, including their submodules; replaces those in the start's ranges."""
    calibration: str = ""
    """Images for the start ranges; empty means the checkpoint's own ranges, else the training data."""

    def __post_init__(self) -> None:
        if not 0 <= self.freeze_after <= 1 or not 0 < self.ema_rate <= 1 or self.range_rate < 0:
            raise ValueError("freeze_after is 0 to 1, ema_rate above 0 to 1, range_rate 0 or more.")
