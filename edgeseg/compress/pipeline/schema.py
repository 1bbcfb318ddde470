"""A resolved compression recipe: start checkpoint, data, stages, calibration."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgeseg.compress.pipeline.stage import Stage
from edgeseg.train.recipe import DataRecipe


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationRecipe:
    """The training images for observing int8 ranges at the end, if the last stage did not train the ranges.

    `selection` and `observer` are registered names, as `edgeseg calibrate` takes them. Without `float_layers`, the
    start checkpoint's float layers stay in float.
    """

    count: int = 64
    seed: int = 0
    selection: str = "mixed"
    observer: str = "auto"
    float_layers: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.count < 1 or self.seed < 0:
            raise ValueError("count must be 1 or more, seed 0 or more.")


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineRecipe:
    """Start checkpoint (path or bundled name), data and stages; `name` names the result, `source` the recipe file.

    `size` (height, width in pixels) defaults to the start checkpoint's. An empty `licence` combines those of the start
    checkpoint and the data; an empty `notice` means the start checkpoint's.
    """

    schema: int
    name: str
    model: str
    data: DataRecipe
    stages: tuple[Stage, ...]
    calibration: CalibrationRecipe = field(default_factory=CalibrationRecipe)
    size: tuple[int, int] | None = None
    licence: str = ""
    notice: str = ""
    source: str = ""
