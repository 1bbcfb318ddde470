"""What every stage of the entry-point group `edgeseg.stages` promises to the pipeline."""

from __future__ import annotations

import copy
import dataclasses
from typing import TYPE_CHECKING, ClassVar

import pytest
import torch
from compress.small_teacher import SIZE, small_teacher

from edgeseg.compress.pipeline.recipe import parse_pipeline
from edgeseg.compress.pipeline.record import WITHOUT_EFFECT, resolved
from edgeseg.compress.pipeline.registry import stage_class
from edgeseg.compress.pipeline.run import run_pipeline
from edgeseg.compress.pipeline.stage import Coming
from edgeseg.compress.pipeline.tables import TABLES
from edgeseg.core.lineage import flatten
from edgeseg.core.records import encode_record
from edgeseg.data import open_dataset
from edgeseg.errors import RecipeError
from edgeseg.models import load_checkpoint
from edgeseg.models.lineage import read_lineage

if TYPE_CHECKING:
    from pathlib import Path

    from edgeseg.compress.pipeline.schema import PipelineRecipe
    from edgeseg.compress.pipeline.stage import Stage

TRAINING = {"schedule": {"epochs": 1, "warmup_epochs": 0}, "run": {"batch": 2, "tensorboard": False}}
RESERVED = {"kind", "size", "data", *TABLES}


class StageContract:
    """Subclass it with `name` and `table`, the stage's own keys; `START` in them is the start checkpoint's folder."""

    name: str
    table: ClassVar[dict[str, object]] = {}
    architecture = "fast_scnn"

    @pytest.fixture
    def start(self, tmp_path: Path) -> Path:
        classes = open_dataset("streets:4", split="train").classes
        return small_teacher(tmp_path / "start", classes=classes, name=self.architecture)

    def recipe(self, start: Path, **more: object) -> PipelineRecipe:
        own = {key: _with(value, start) for key, value in self.table.items()}
        table = {
            "schema": 1, "name": "contract", "model": str(start), "data": {"train": "streets:4"},
            "calibration": {"count": 2}, "training": TRAINING, "stages": [{"kind": self.name, **own, **more}],
        }  # fmt: skip
        return parse_pipeline(table, where="r.toml")

    def stage(self, start: Path) -> Stage:
        return self.recipe(start).stages[0]

    def test_it_is_registered_under_its_own_name_with_what_it_does(self) -> None:
        made = stage_class(self.name)
        assert made.name == self.name
        assert 0 < len(made.does) <= 80
        assert "\n" not in made.does

    def test_its_settings_are_a_frozen_dataclass_beside_known_tables(self) -> None:
        made = stage_class(self.name)
        settings = made.settings_type()
        assert settings.__dataclass_params__.frozen  # type: ignore[attr-defined]
        assert not {item.name for item in dataclasses.fields(settings)} & RESERVED
        assert set(made.tables) <= set(TABLES)
        assert not made.trains or {"schedule", "run"} <= set(made.tables)

    def test_an_unknown_key_is_refused_with_its_place(self, start: Path) -> None:
        with pytest.raises(RecipeError, match=rf'r\.toml\.stages\[0\]: unknown key "nonsense" of kind = "{self.name}"'):
            self.recipe(start, nonsense=1)

    def test_every_setting_is_in_the_record_or_without_effect(self, start: Path) -> None:
        recipe = self.recipe(start)
        stage = recipe.stages[0]
        record = resolved(stage, data=recipe.data, size=SIZE)
        assert record["kind"] == self.name
        assert set(flatten(encode_record(stage.settings))) - set(record) <= {*WITHOUT_EFFECT, *stage.without_effect}
        assert resolved(stage, data=recipe.data, size=SIZE) == record

    def test_checking_changes_nothing_and_hands_on_a_net(self, start: Path) -> None:
        checkpoint = load_checkpoint(start)
        before = copy.deepcopy(checkpoint.net.state_dict())
        coming = Coming(net=checkpoint.net, spec=checkpoint.spec, images=4)
        after = self.stage(start).check(coming)
        assert after.spec.classes == coming.spec.classes
        assert after.pending <= {item.name for item in dataclasses.fields(after.spec)}
        assert _equal(checkpoint.net.state_dict(), before)

    def test_inputs_are_named_and_stay_the_same(self, start: Path) -> None:
        found = self.stage(start).inputs()
        assert all(isinstance(text, str) and text for pair in found.items() for text in pair)
        assert self.stage(start).inputs() == found

    def test_a_preview_leaves_the_checkpoint_alone(self, start: Path) -> None:
        checkpoint = load_checkpoint(start)
        before = copy.deepcopy(checkpoint.net.state_dict())
        files = sorted(path.stat().st_mtime_ns for path in start.iterdir())
        shown = self.stage(start).preview(checkpoint, data=open_dataset("streets:4", split="train"), probe=None)
        assert _equal(checkpoint.net.state_dict(), before)
        assert sorted(path.stat().st_mtime_ns for path in start.iterdir()) == files
        with torch.no_grad():
            assert shown.net.eval()(torch.zeros(1, 3, *SIZE)).shape[:2] == (1, len(checkpoint.spec.classes))

    def test_it_runs_resumes_and_reaches_the_lineage(self, start: Path, tmp_path: Path) -> None:
        recipe, out = self.recipe(start), tmp_path / "run"
        done = run_pipeline(recipe, out=out, command="test")
        assert done.checkpoint is not None
        step = read_lineage(done.checkpoint)[-1]
        assert (step.stage, step.parent_sha256) == (self.name, load_checkpoint(start).spec.weights_sha256)
        assert step.seed == recipe.stages[0].seed
        assert 0 <= step.metrics["val_miou"] <= 1
        assert step.data[0].name
        written = {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
        assert run_pipeline(recipe, out=out, resume=True) == done
        assert {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")} == written


def _with(value: object, start: Path) -> object:
    """Return a value with the start checkpoint's folder in place of `START`."""
    if isinstance(value, list):
        return [_with(item, start) for item in value]
    return str(start) if value == "START" else value


def _equal(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)
