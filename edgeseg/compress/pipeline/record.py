"""What a stage writes about itself: from which weights, by which settings, and, once it is done, what came out."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edgeseg.compress.stages import LotteryStage, PruneStage, stage_kind, teaching
from edgeseg.core.files import read_json, sha256_of, write_json
from edgeseg.core.lineage import Setting, flatten
from edgeseg.core.records import encode
from edgeseg.errors import InputError, RecipeError, TrainingError

if TYPE_CHECKING:
    from edgeseg.compress.pipeline.recipe import PipelineRecipe, StageRecipe

RECORD_FILE = "stage.json"
SCHEMA = 1
WITHOUT_EFFECT = ("cache", "distill.cache", "table", "run.tensorboard", "data.cache")
"""Settings from which no weight follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRecord:
    """The content of a stage's stage.json. `settings` is everything that its weights follow from but its parent's."""

    schema: int
    kind: str
    parent_sha256: str
    settings: dict[str, Setting]
    state: Literal["begun", "done"] = "begun"
    weights_sha256: str = ""
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise ValueError(f"schema is {self.schema}; this version reads schema = {SCHEMA}.")


def resolved(pipeline: PipelineRecipe, stage: StageRecipe, *, size: tuple[int, int]) -> dict[str, Setting]:
    """Return everything that a stage's weights follow from, beside those it starts from, as one flat table."""
    kind = stage_kind(stage.kind)
    training, settings = encode(stage.training), encode(stage.settings)
    assert isinstance(training, dict)
    assert isinstance(settings, dict)
    table = {
        "kind": stage.kind,
        **settings,
        "size": list(size),
        "data": encode(pipeline.data),
        **{name: training[name] for name in kind.tables},
        **_inputs(stage),
    }
    flat = flatten(table)
    return {key: value for key, value in flat.items() if key not in WITHOUT_EFFECT}


def begin(folder: Path, *, kind: str, parent_sha256: str, settings: dict[str, Setting]) -> StageRecord:
    """Write and return the record of a stage that starts."""
    record = StageRecord(schema=SCHEMA, kind=kind, parent_sha256=parent_sha256, settings=settings)
    write_json(record, folder / RECORD_FILE)
    return record


def read_record(folder: Path) -> StageRecord | None:
    """Return the record in a stage's folder, or None where there is none.

    Raises:
        TrainingError: one that cannot be read.
    """
    path = folder / RECORD_FILE
    if not path.is_file():
        return None
    try:
        return read_json(StageRecord, path)
    except RecipeError as error:
        raise TrainingError(f"{path}: damaged: {error} Delete {folder} to make the stage again.") from error


def check_same(record: StageRecord, *, folder: Path, parent_sha256: str, settings: dict[str, Setting]) -> None:
    """Raise `InputError` where a stage was made from other weights or settings, naming the first difference."""
    again = f"Take the recipe as it was, choose another --out, or delete {folder} and what follows it."
    if record.kind != settings["kind"]:
        raise InputError(
            f'{folder}: holds a stage of kind "{record.kind}"; the recipe says "{settings["kind"]}". {again}'
        )
    for key in dict.fromkeys((*settings, *record.settings)):
        was, now = record.settings.get(key), settings.get(key)
        if was != now:
            raise InputError(f"{folder}: was made with {key} = {was!r}; the recipe now says {now!r}. {again}")
    if record.parent_sha256 != parent_sha256:
        raise InputError(
            f"{folder}: was made from the weights {record.parent_sha256[:12]}...; the stage before it now gives "
            f"{parent_sha256[:12]}.... {again}"
        )


def check_weights(record: StageRecord, *, folder: Path, weights: Path) -> None:
    """Raise `InputError` unless the weights of a finished stage are those that it wrote down."""
    if not weights.is_file() or sha256_of(weights) != record.weights_sha256:
        raise InputError(
            f"{weights}: is missing or not what the stage wrote. Delete {folder} and what follows it, and resume."
        )


def _inputs(stage: StageRecipe) -> dict[str, str]:
    """Return the hash of what a stage reads beside its parent and the data: a name may come to mean something else."""
    from edgeseg.models import resolve_model
    from edgeseg.models.checkpoint import read_spec

    settings, teachers = stage.settings, teaching(stage.settings)
    found = {name: read_spec(resolve_model(name)).weights_sha256 for name in (teachers.teachers if teachers else ())}
    told = {f"teacher {name}": sha256 for name, sha256 in found.items()}
    if isinstance(settings, LotteryStage):
        told[f"rewind {settings.rewind}"] = read_spec(resolve_model(settings.rewind)).weights_sha256
    if isinstance(settings, PruneStage) and settings.table:
        told["table sha256"] = sha256_of(Path(settings.table))
    if isinstance(settings, PruneStage) and settings.target:
        from edgeseg.compress.cutting import round_to

        told["channel multiple"] = str(round_to(settings))
    return told
