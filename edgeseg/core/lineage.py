"""Lineage: the steps that a checkpoint's weights went through, oldest first, each with what it was made from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath

from edgeseg.core.records import encode

LINEAGE_FILE = "lineage.json"
SCHEMA = 1

Setting = bool | int | float | str


@dataclass(frozen=True, slots=True, kw_only=True)
class DataUse:
    """Which images a step used, and under which licence."""

    name: str
    split: str
    images: int
    licence: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineageStep:
    """One stage: which weights it made from which, by which recipe, from which images, with which scores.

    `settings` is the resolved recipe of the stage, a table's keys joined by dots. `metrics` are plain numbers by name:
    mIoU as a fraction, MACs of one image, parameters, seconds.
    """

    stage: str
    checkpoint: str
    weights_sha256: str
    parent: str = ""
    parent_sha256: str = ""
    recipe: str = ""
    settings: dict[str, Setting]
    data: tuple[DataUse, ...] = ()
    seed: int | None = None
    metrics: dict[str, float]
    command: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineageRecord:
    """The content of a checkpoint's lineage.json."""

    schema: int
    steps: tuple[LineageStep, ...]

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise ValueError(f"schema is {self.schema}; this version reads schema = {SCHEMA}.")


def flatten(value: object) -> dict[str, Setting]:
    """Return a record's settings as one flat table, `schedule.epochs` for a key inside a table.

    Lists become text, paths their last part: where a file lay on the machine is nobody's business.
    """
    flat: dict[str, Setting] = {}
    _flatten("", encode(value), flat)
    return flat


def _flatten(prefix: str, value: object, flat: dict[str, Setting]) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            _flatten(f"{prefix}.{key}" if prefix else str(key), item, flat)
    elif isinstance(value, (list, tuple)):
        flat[prefix] = ", ".join(str(without_folder(item)) for item in value)
    elif isinstance(value, (bool, int, float, str)):
        flat[prefix] = without_folder(value)


def without_folder(value: Setting) -> Setting:
    """Return a path's last part, and anything else as it is."""
    if isinstance(value, str) and "\n" not in value and PurePath(value).is_absolute():
        return PurePath(value).name
    return value
