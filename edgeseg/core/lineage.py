"""Lineage: the stages that produced a checkpoint's weights, oldest first."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath

from edgeseg.core.records import encode_record

LINEAGE_FILE = "lineage.json"
LINEAGE_SCHEMA = 1

Setting = bool | int | float | str


@dataclass(frozen=True, slots=True, kw_only=True)
class DataUse:
    """The images that a step used, and their licence; `sha256` is the identity of the whole split's content.

    Records of earlier versions have no `sha256` ("").
    """

    name: str
    split: str
    images: int
    licence: str = ""
    sha256: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineageStep:
    """One stage: parent and resulting weights, recipe, images and scores.

    `settings` is the stage's resolved recipe, flattened with dotted keys. `metrics` are plain numbers by name: mIoU as
    a fraction, MACs per image, parameters, seconds.
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
        if self.schema != LINEAGE_SCHEMA:
            raise ValueError(f"schema is {self.schema}; this version reads schema = {LINEAGE_SCHEMA}.")


def flatten(value: object) -> dict[str, Setting]:
    """Return a record's settings as one flat table with dotted keys such as `schedule.epochs`.

    Lists become text; a path is shortened to its last part, so that no folder names of the machine are published.
    """
    flat: dict[str, Setting] = {}
    _flatten("", encode_record(value), flat)
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
    """Return the last part of an absolute path, and any other value unchanged.

    >>> without_folder("/data/camvid"), without_folder(0.5)
    ('camvid', 0.5)
    """
    if isinstance(value, str) and "\n" not in value and PurePath(value).is_absolute():
        return PurePath(value).name
    return value
