"""Reading a compression recipe: one strict TOML file (`schema = 1`) with a start checkpoint and a list of stages.

A stage's table has the keys of its settings and may have the tables of a training recipe (augment, sampling,
loss, optimizer, schedule, run); missing keys come from the recipe's `[training]`.
"""

from __future__ import annotations

import dataclasses
import string
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.compress.pipeline.registry import stage_class
from edgeseg.compress.pipeline.schema import CalibrationRecipe, PipelineRecipe
from edgeseg.compress.pipeline.tables import TABLES, TrainingTables
from edgeseg.core.files import read_toml_table
from edgeseg.core.recipe_lines import with_lines
from edgeseg.core.records import decode_record, known_keys
from edgeseg.core.suggestions import suggestion, unknown
from edgeseg.errors import RecipeError
from edgeseg.train.recipe import DataRecipe, data_name, run_of

if TYPE_CHECKING:
    from edgeseg.compress.pipeline.stage import Stage

_BUNDLED = Path(__file__).parents[1] / "recipes"
_SCHEMA = 1
NAME_LETTERS = frozenset(f"{string.ascii_letters}{string.digits}._-")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Head:
    """The keys of a recipe file besides its stages."""

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
        if self.schema != _SCHEMA:
            raise ValueError(f"schema is {self.schema}; this version reads schema = {_SCHEMA}.")
        if not self.name or not set(self.name) <= NAME_LETTERS or self.name.startswith("."):
            raise ValueError(f'name is "{self.name}"; it names folders, so use letters, digits and "._-" only.')


def compression_recipes() -> tuple[str, ...]:
    """Return the names of the compression recipes that come with the package, sorted."""
    return tuple(sorted(path.stem for path in _BUNDLED.glob("*.toml")))


def recipe_file(text: str | Path) -> Path:
    """Return the TOML file that `text` names: a path, or the name of a bundled recipe.

    Raises:
        UnknownName: no bundled recipe of that name, with the nearest one.
    """
    path = Path(text)
    if path.suffix == ".toml" or path.is_file():
        return path
    if str(text) not in compression_recipes():
        raise unknown("compression recipe", str(text), compression_recipes())
    return _BUNDLED / f"{text}.toml"


def read_pipeline(text: str | Path) -> PipelineRecipe:
    """Return the recipe in a TOML file, or the bundled one of that name, with all stages resolved.

    Raises:
        InputError: no such file.
        UnknownName: no bundled recipe of that name, with the nearest one.
        RecipeError: an unknown stage, key or value; names the file, line and key.
    """
    path = recipe_file(text)
    with with_lines(path):
        return parse_pipeline(read_toml_table(path), where=path.name)


def parse_pipeline(data: dict[str, object], *, where: str) -> PipelineRecipe:
    """Return the recipe in plain values; `where` names their file for the error messages. Raises as `read_pipeline`."""
    head = decode_record(_Head, {key: value for key, value in data.items() if key != "stages"}, where=where)
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
        source=where,
    )


def override_pipeline(recipe: PipelineRecipe, *, data: str | None = None, init: str | None = None) -> PipelineRecipe:
    """Return the recipe with other data (for train and val) or another start checkpoint, if given.

    A start checkpoint under `runs` is that of a training on the other data.
    """
    source, model = recipe.data, recipe.model
    if data is not None:
        model = run_of(model, before=data_name(source.train), after=data_name(data))
        source = dataclasses.replace(source, train=data, val="")
    return dataclasses.replace(recipe, data=source, model=model if init is None else init)


def _stage(data: object, defaults: dict[str, object], where: str) -> Stage:
    if not isinstance(data, dict) or not isinstance(data.get("kind"), str):
        raise RecipeError(f'{where}: needs a table with a kind, for example kind = "prune".')
    made = stage_class(data["kind"], where=f"{where}.kind")
    _check_keys(data, made, where)
    tables = {
        name: _merged(defaults.get(name, {}), data.get(name, {}))
        for name in made.tables
        if name in data or name in defaults
    }
    own = {key: value for key, value in data.items() if key not in ("kind", *TABLES)}
    return made(
        settings=decode_record(made.settings_type(), own, where=where),
        training=decode_record(TrainingTables, tables, where=where),
    )


def _check_order(stages: tuple[Stage, ...], *, where: str) -> None:
    """Raise `RecipeError` if a later stage destroys the result of an earlier one."""
    for index, stage in enumerate(stages):
        for left in stage.leaves:
            touching = [
                later for later in stages[index + 1 :] if later.trains or (left.lost_by == "any" and not later.keeps)
            ]
            if touching and left.name not in [own.name for own in touching[-1].leaves]:
                raise RecipeError(
                    f'{where}: "{touching[-1].name}" after "{stage.name}" {left.how}. '
                    f'Put "{stage.name}" last, or after it.'
                )


def _check_keys(data: dict[str, object], stage: type[Stage], where: str) -> None:
    """Raise `RecipeError` for a key that is neither a setting of the stage nor one of its training tables."""
    known = ("kind", *(item.name for item in dataclasses.fields(stage.settings_type())), *stage.tables)
    for key in data:
        if key not in known and key not in known_keys(stage.settings_type()):
            hint = suggestion(key, known)
            raise RecipeError(
                f'{where}: unknown key "{key}" of kind = "{stage.name}".{hint} Known: {", ".join(known)}.'
            )


def _merged(defaults: object, own: object) -> object:
    if isinstance(defaults, dict) and isinstance(own, dict):
        return {**defaults, **own}
    return own
