"""What the analyses of layers return: `Sensitivity` and `QuantDebug`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerLoss:
    """What one layer alone costs: the share of labels that change, and the fraction of mIoU lost (None: no labels)."""

    layer: str
    labels_changed: float
    miou_lost: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensitivity:
    """Every layer's cost, on which images, and the files it was written to."""

    model: str
    data: str
    images: int
    layers: tuple[LayerLoss, ...]
    files: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerNoise:
    """Signal to noise in dB at a layer, all noise from before it included, and of its own rounding; None: no noise."""

    layer: str
    sqnr_db: float | None
    own_db: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantDebug:
    """Signal to noise at every point; `diverges_at` is the first one below `below_db`.

    With a bound, `float_layers` are the layers to keep in float, `lost` what is lost with them and `lost_all_int8`
    without any: the share of labels that change, or of mIoU with labelled images.
    """

    model: str
    engine: str
    data: str
    images: int
    below_db: float
    diverges_at: str | None
    layers: tuple[LayerNoise, ...]
    bound: float | None = None
    float_layers: tuple[str, ...] = ()
    lost: float | None = None
    lost_all_int8: float | None = None
    files: tuple[Path, ...] = ()
