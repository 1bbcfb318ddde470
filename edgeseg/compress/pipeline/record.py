"""The record of a stage: its input weights and settings and, once it is done, its results."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from edgeseg.compress.pipeline.tables import TrainingTables
from edgeseg.core.files import read_json, sha256_of, write_json
from edgeseg.core.lineage import Setting, flatten, without_folder
from edgeseg.core.records import current_key, encode_record
from edgeseg.data.identity import explain_difference
from edgeseg.errors import InputError, RecipeError, TrainingError
from edgeseg.train.recipe import DataRecipe

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edgeseg.compress.pipeline.stage import Stage
    from edgeseg.data import DataIdentity

_log = logging.getLogger(__name__)

RECORD_FILE = "stage.json"
_SCHEMA = 1
WITHOUT_EFFECT = ("run.tensorboard", "data.cache")
"""Settings of all stages that do not affect the weights; a stage's `without_effect` lists its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRecord:
    """The content of a stage's stage.json. `settings` is everything its weights depend on besides the parent's weights.

    Renamed keys of `settings` (`edgeseg.core.records.renamed`) are read under their current names, and keys that did
    not exist yet have their defaults; so the schema stays 1. `data` maps "train" and "val" to the hash of their content
    (`DataIdentity`); records of earlier versions have none.
    """

    schema: int
    kind: str
    parent_sha256: str
    settings: dict[str, Setting]
    data: dict[str, str] = dataclasses.field(default_factory=dict)
    state: Literal["begun", "done"] = "begun"
    weights_sha256: str = ""
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.schema != _SCHEMA:
            raise ValueError(f"schema is {self.schema}; this version reads schema = {_SCHEMA}.")


def resolved(stage: Stage, *, data: DataRecipe, size: tuple[int, int]) -> dict[str, Setting]:
    """Return everything that a stage's weights depend on, besides its start weights, as one flat table."""
    training, settings = encode_record(stage.training), encode_record(stage.settings)
    assert isinstance(training, dict)
    assert isinstance(settings, dict)
    table = {
        "kind": stage.name,
        **settings,
        "size": list(size),
        "data": encode_record(data),
        **{name: training[name] for name in stage.tables},
        **_without_folders(stage.inputs()),
    }
    ignored = (*WITHOUT_EFFECT, *stage.without_effect)
    return {key: value for key, value in flatten(table).items() if key not in ignored}


def begin(
    folder: Path, *, kind: str, parent_sha256: str, settings: dict[str, Setting], data: Mapping[str, str]
) -> StageRecord:
    """Write and return the record of a starting stage."""
    record = StageRecord(schema=_SCHEMA, kind=kind, parent_sha256=parent_sha256, settings=settings, data=dict(data))
    write_json(record, folder / RECORD_FILE)
    return record


def read_record(folder: Path) -> StageRecord | None:
    """Return the record in a stage's folder, or None if it has none.

    Raises:
        TrainingError: the record cannot be read.
    """
    path = folder / RECORD_FILE
    if not path.is_file():
        return None
    try:
        return read_json(StageRecord, path)
    except RecipeError as error:
        raise TrainingError(f"{path}: corrupt: {error} Delete {folder} to run the stage again.") from error


def check_same(
    record: StageRecord, stage: Stage, *, folder: Path, parent_sha256: str, settings: dict[str, Setting]
) -> None:
    """Raise `InputError` if a stage was made from other weights or settings than `settings`, naming the first."""
    again = f"Restore the recipe, choose another --out, or delete {folder} and the stages after it."
    if record.kind != stage.name:
        raise InputError(f'{folder}: holds a stage of kind "{record.kind}"; the recipe says "{stage.name}". {again}')
    stored = {**_defaults(stage, among=settings), **_current(record.settings, stage)}
    for key in dict.fromkeys((*settings, *stored)):
        was, now = stored.get(key), settings.get(key)
        if not _same(key, was, now):
            raise InputError(f"{folder}: was made with {key} = {was!r}; the recipe now says {now!r}. {again}")
    if record.parent_sha256 != parent_sha256:
        raise InputError(
            f"{folder}: was made from the weights {record.parent_sha256[:12]}...; the stage before it now gives "
            f"{parent_sha256[:12]}.... {again}"
        )


def _same(key: str, was: Setting | None, now: Setting | None) -> bool:
    """Return whether two values of a setting mean the same.

    Earlier records hold 255 where augmentation takes the data's own ignore index, which was 255 throughout.
    """
    return was == now or (key == "augment.ignore_index" and {was, now} == {None, 255})


def check_same_data(record: StageRecord, *, folder: Path, now: Mapping[str, DataIdentity], details: Path) -> None:
    """Raise `InputError` if a stage was made with other data than `now`; `details` is the run's data.json."""
    if not record.data:
        _log.warning("%s: was made by an older version, which did not record its data; it is not compared", folder)
    for role, found in now.items():
        before = record.data.get(role, found.sha256)
        if before != found.sha256:
            what = explain_difference(details, role, before_sha256=before, now=found)
            raise InputError(
                f"{folder}: was made with other {role} data than {found.name} {found.split} is now: {what}. Resume "
                "with the same data, or choose another --out."
            )


def check_weights(record: StageRecord, *, folder: Path, weights: Path) -> None:
    """Raise `InputError` unless the weights of a finished stage are those in its record."""
    if not weights.is_file() or sha256_of(weights) != record.weights_sha256:
        raise InputError(
            f"{weights}: is missing or not what the stage wrote. Delete {folder} and the stages after it, and resume."
        )


def _current(settings: dict[str, Setting], stage: Stage) -> dict[str, Setting]:
    """Return stored settings with their keys' current names."""
    return {_current_key(key, stage): value for key, value in _without_folders(settings).items()}


def _without_folders(table: Mapping[str, Setting]) -> dict[str, Setting]:
    """Return a table whose keys (`teacher /home/me/net`) name files without their folders (`teacher net`).

    A file's folder is not part of the record; a second file of the same name becomes `teacher net (2)`.
    """
    found: dict[str, Setting] = {}
    for key, value in table.items():
        label, space, name = key.partition(" ")
        short = f"{label}{space}{without_folder(name)}"
        unique, number = short, 1
        while unique in found:
            number += 1
            unique = f"{short} ({number})"
        found[unique] = value
    return found


def _current_key(key: str, stage: Stage) -> str:
    head, _, rest = key.partition(".")
    if head == "data" and rest:
        return f"data.{current_key(DataRecipe, rest)}"
    own = current_key(stage.settings_type(), key)
    return own if own != key else current_key(TrainingTables, key)


def _defaults(stage: Stage, *, among: dict[str, Setting]) -> dict[str, Setting]:
    """Return the default of each setting in `among` that has one, for keys that an older record lacks."""
    tables = encode_record(TrainingTables())
    assert isinstance(tables, dict)
    found = flatten({**_own_defaults(stage.settings_type()), **tables, "data": _own_defaults(DataRecipe)})
    return {key: value for key, value in found.items() if key in among}


def _own_defaults(cls: type) -> dict[str, object]:
    return {item.name: encode_record(item.default) for item in dataclasses.fields(cls) if _has_default(item)}


def _has_default(item: dataclasses.Field[object]) -> bool:
    return item.default is not dataclasses.MISSING
