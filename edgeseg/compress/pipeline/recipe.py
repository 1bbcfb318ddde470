"""The compression recipe: one strict TOML file (`schema = 1`) with a start checkpoint and a visible list of stages.

Every stage has the keys of its own kind and may have the tables of a training recipe (augment, loss, optimizer,
schedule, run); what it leaves out it takes from the recipe's `[training]`.
"""

from __future__ import annotations

import dataclasses
import string
from dataclasses import dataclass, field
from pathlib import Path

from edgeseg.compress.stages import TABLES, Settings, StageKind, stage_kind
from edgeseg.core.files import read_toml_table
from edgeseg.core.records import decode
from edgeseg.core.suggestions import suggestion, unknown
from edgeseg.data import Augment
from edgeseg.errors import RecipeError
from edgeseg.train.recipe import DataRecipe, LossRecipe, OptimizerRecipe, RunRecipe, ScheduleRecipe

BUNDLED = Path(__file__).with_name("recipes")
SCHEMA = 1
MASKED = ("sparsify", "lottery")
NAME_LETTERS = frozenset(f"{string.ascii_letters}{string.digits}._-")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingTables:
    """How a stage trains: the tables of a training recipe, with its defaults."""

    augment: Augment = field(default_factory=Augment)
    loss: LossRecipe = field(default_factory=LossRecipe)
    optimizer: OptimizerRecipe = field(default_factory=OptimizerRecipe)
    schedule: ScheduleRecipe = field(default_factory=ScheduleRecipe)
    run: RunRecipe = field(default_factory=RunRecipe)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageRecipe:
    """One stage: its kind, the settings of that kind, and how it trains."""

    kind: str
    settings: Settings
    training: TrainingTables


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationRecipe:
    """How many training images int8 ranges are observed on at the end, where no stage left trained ones.

    Without `float_layers`, those of the start checkpoint stay in float.
    """

    count: int = 64
    seed: int = 0
    float_layers: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.count < 1 or self.seed < 0:
            raise ValueError("count is 1 or more, seed 0 or more.")


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineRecipe:
    """From which checkpoint (a path or a bundled name), on which data, through which stages; `name` is the result's.

    Without `size` (height, width in pixels) the start checkpoint's own holds. An empty `licence` joins those of the
    start checkpoint and of the data; an empty `notice` is the start checkpoint's.
    """

    schema: int
    name: str
    model: str
    data: DataRecipe
    stages: tuple[StageRecipe, ...]
    calibration: CalibrationRecipe = field(default_factory=CalibrationRecipe)
    size: tuple[int, int] | None = None
    licence: str = ""
    notice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Head:
    """What a recipe file holds beside its stages and their defaults."""

    schema: int
    name: str
    model: str
    data: DataRecipe
    training: TrainingTables = field(default_factory=TrainingTables)
    calibration: CalibrationRecipe = field(default_factory=CalibrationRecipe)
    size: tuple[int, int] | None = None
    licence: str = ""
    notice: str = ""
    stages: tuple[()] = ()

    def __post_init__(self) -> None:
        if self.schema != SCHEMA:
            raise ValueError(f"schema is {self.schema}; this version reads schema = {SCHEMA}.")
        if not self.name or not set(self.name) <= NAME_LETTERS or self.name.startswith("."):
            raise ValueError(f'name is "{self.name}"; give letters, digits and "._-": folders are called by it.')


def recipes() -> tuple[str, ...]:
    """Return the names of the compression recipes that come with the package, sorted."""
    return tuple(sorted(path.stem for path in BUNDLED.glob("*.toml")))


def read_pipeline(text: str | Path) -> PipelineRecipe:
    """Return the recipe in a TOML file, or the bundled one of that name, every stage resolved.

    Raises:
        InputError: no such file.
        UnknownName: no bundled recipe or no stage kind of that name, with the nearest one.
        RecipeError: a key or value that the schema does not have, with its place.
    """
    path = Path(text)
    if path.suffix != ".toml" and not path.is_file():
        if str(text) not in recipes():
            raise unknown("compression recipe", str(text), recipes())
        path = BUNDLED / f"{text}.toml"
    return parse_pipeline(read_toml_table(path), where=path.name)


def parse_pipeline(data: dict[str, object], *, where: str) -> PipelineRecipe:
    """Return the recipe in plain values; `where` names their file for the error messages. Raises as `read_pipeline`."""
    head = decode(_Head, {key: value for key, value in data.items() if key != "stages"}, where=where)
    stages = data.get("stages")
    if not isinstance(stages, list) or not stages:
        raise RecipeError(f'{where}: no [[stages]]; list at least one, for example kind = "prune".')
    defaults = data.get("training", {})
    assert isinstance(defaults, dict)
    made = tuple(_stage(item, defaults, f"{where}.stages[{index}]") for index, item in enumerate(stages))
    _check_order(made, where=where)
    return PipelineRecipe(
        schema=head.schema,
        name=head.name,
        model=head.model,
        data=head.data,
        stages=made,
        calibration=head.calibration,
        size=head.size,
        licence=head.licence,
        notice=head.notice,
    )


def override_pipeline(recipe: PipelineRecipe, *, data: str | None = None, init: str | None = None) -> PipelineRecipe:
    """Return the recipe with what is given in place of its own; `data` is for train and val."""
    source = recipe.data if data is None else dataclasses.replace(recipe.data, train=data, val="")
    return dataclasses.replace(recipe, data=source, model=recipe.model if init is None else init)


def _stage(data: object, defaults: dict[str, object], where: str) -> StageRecipe:
    if not isinstance(data, dict) or not isinstance(data.get("kind"), str):
        raise RecipeError(f'{where}: a table with a kind is needed, for example kind = "prune".')
    kind = stage_kind(data["kind"], where=f"{where}.kind")
    _check_keys(data, kind, where)
    tables = {
        name: _merged(defaults.get(name, {}), data.get(name, {}))
        for name in kind.tables
        if name in data or name in defaults
    }
    own = {key: value for key, value in data.items() if key not in ("kind", *TABLES)}
    return StageRecipe(
        kind=kind.name,
        settings=decode(kind.settings, own, where=where),
        training=decode(TrainingTables, tables, where=where),
    )


def _check_order(stages: tuple[StageRecipe, ...], *, where: str) -> None:
    """Raise `RecipeError` where what a stage trained is lost in a later one."""
    kinds = [stage.kind for stage in stages]
    trained = [stage.kind for stage in stages if stage_kind(stage.kind).trains]
    masked = [kind for kind in kinds if kind in MASKED]
    if masked and trained[-1] not in MASKED:
        raise RecipeError(
            f'{where}: "{trained[-1]}" after "{masked[0]}" trains its zeros away. Put "{masked[0]}" behind it.'
        )
    if "qat" in kinds and kinds[-1] != "qat":
        raise RecipeError(
            f'{where}: "{kinds[-1]}" after "qat" changes the weights that its ranges were trained with. Put "qat" last.'
        )


def _check_keys(data: dict[str, object], kind: StageKind, where: str) -> None:
    """Raise `RecipeError` for a key that is neither the kind's nor a training table."""
    own = tuple(item.name for item in dataclasses.fields(kind.settings))
    known = ("kind", *own, *kind.tables)
    for key in data:
        if key not in known:
            hint = suggestion(key, known)
            raise RecipeError(f'{where}: unknown key "{key}" of kind = "{kind.name}".{hint} Known: {", ".join(known)}.')


def _merged(defaults: object, own: object) -> object:
    if isinstance(defaults, dict) and isinstance(own, dict):
        return {**defaults, **own}
    return own
