"""What a compression recipe says, resolved: start checkpoint, data, stages, calibration."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgeseg.compress.pipeline.stage import Stage
from edgeseg.train.recipe import DataRecipe


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationRecipe:
    """How many training images int8 ranges are observed on at the end, if the last stage did not train them.

    Without `float_layers`, those of the start checkpoint stay in float.
    """

    count: int = 64
    seed: int = 0
    float_layers: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.count < 1 or self.seed < 0:
            raise ValueError("count must be 1 or more, seed 0 or more.")


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineRecipe:
    """Start checkpoint (a path or a bundled name), data and stages; `name` is the result's, `source` the file's name.

    Without `size` (height, width in pixels) the start checkpoint's own is used. An empty `licence` joins those of the
    start checkpoint and of the data; an empty `notice` is the start checkpoint's.
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
