"""`preprocessor_config.json` of transformers: the preprocessing of a published net."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from edgeseg.core.files import read_json_value
from edgeseg.errors import EdgesegError

if TYPE_CHECKING:
    from pathlib import Path

PREPROCESSOR = "preprocessor_config.json"
Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedPreprocess:
    """Scale, mean and std in edgeseg's order, and the input size (height, width) if stated."""

    source: str
    scale: float
    mean: Triple
    std: Triple
    size: tuple[int, int] | None


def stated_preprocess(files: tuple[Path, ...]) -> StatedPreprocess | None:
    """Return the preprocessing in the first readable one of `files`, or None."""
    for path in files:
        try:
            table = read_json_value(path)
        except EdgesegError:
            continue
        if isinstance(table, dict):
            return _stated(table, source=path.name)
    return None


def _stated(table: dict[str, object], *, source: str) -> StatedPreprocess:
    scale, mean, std = 1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if table.get("do_rescale", True):
        factor = table.get("rescale_factor")
        scale = float(factor) if isinstance(factor, (int, float)) else 1 / 255
    if table.get("do_normalize", True):
        mean, std = _triple(table.get("image_mean"), mean), _triple(table.get("image_std"), std)
    sides = table.get("size")
    size = None
    if isinstance(sides, int):
        size = (sides, sides)
    elif isinstance(sides, dict) and {"height", "width"} <= sides.keys():
        size = (int(sides["height"]), int(sides["width"]))
    return StatedPreprocess(source=source, scale=scale, mean=mean, std=std, size=size)


def _triple(value: object, default: Triple) -> Triple:
    if isinstance(value, list) and len(value) == 3 and all(isinstance(item, (int, float)) for item in value):
        return cast("Triple", tuple(float(item) for item in value))
    return default
