"""Recipes: strict, and the bundled ones hold together."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeseg.compress.pipeline.recipe import override_pipeline, read_pipeline
from edgeseg.errors import EdgesegError, InputError, RecipeError, UnknownName
from edgeseg.train import override, read_recipe, recipes

TEXT = """
schema = 1
name = "mine"
[model]
name = "fast_scnn"
[data]
train = "streets:20"
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_short_recipe_has_defaults(tmp_path: Path) -> None:
    recipe = read_recipe(written(tmp_path, TEXT))
    assert recipe.model.size == (384, 480)
    assert recipe.optimizer.name == "sgd"
    assert recipe.loss.class_weights == "none"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("[optimiser]\nrate = 1.0", 'unknown key "optimiser". Did you mean "optimizer"?'),
        ("[loss]\nlovas = 1.0", 'mine.toml:9: loss: unknown key "lovas". Did you mean "lovasz"?'),
        ("[schedule]\nepochs = 2.5", "mine.toml:9: schedule.epochs: expected an integer; got 2.5"),
        ("[schedule]\nepochs = 0", "epochs must be 1 or more"),
        ("[loss]\nohem_share = 0.0", "ohem_share must be above 0"),
        ('[run]\nprecision = "fp8"', "expected one of fp32, bf16, fp16; got 'fp8'"),
        ("[run]\nema = 1.0", "ema must be from 0 to below 1"),
        ("[augment]\nflip = 2.0", "flip is 2.0; give a chance from 0 to 1"),
    ],
)
def test_a_fault_is_named_with_its_place(tmp_path: Path, more: str, words: str) -> None:
    with pytest.raises(EdgesegError) as caught:
        read_recipe(written(tmp_path, TEXT + more))
    assert words in str(caught.value)


def test_another_schema_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="schema is 2; this version reads schema = 1"):
        read_recipe(written(tmp_path, TEXT.replace("schema = 1", "schema = 2")))


def test_two_starts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="init and encoder are both given"):
        read_recipe(written(tmp_path, TEXT.replace("[data]", 'init = "a"\nencoder = "b"\n[data]')))


def test_a_recipe_that_is_not_bundled_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match='Did you mean "fast_scnn-camvid"'):
        read_recipe("fast_scn-camvid")
    with pytest.raises(InputError, match="no such file"):
        read_recipe("missing.toml")


@pytest.mark.parametrize("name", recipes())
def test_bundled_recipes_read_and_are_named_after_their_file(name: str) -> None:
    recipe = read_recipe(name)
    assert recipe.name == name
    assert name.split("-", maxsplit=1)[0] == recipe.model.name
    assert not Path(recipe.data.train).is_absolute()


def test_the_second_of_two_recipes_finds_the_first_ones_run_on_other_data() -> None:
    first = override(read_recipe("lraspp_mobilenet_v3_small-camvid-coarse"), data="/data/mine")
    second = override(read_recipe("lraspp_mobilenet_v3_small-camvid-long"), data="/data/mine")
    assert first.name == "lraspp_mobilenet_v3_small-mine-coarse"
    assert second.name == "lraspp_mobilenet_v3_small-mine-long"
    assert second.model.init == f"runs/{first.name}/checkpoint"
    assert (second.licence, second.notice) == ("", "")
    same = override(read_recipe("lraspp_mobilenet_v3_small-camvid-long"), data="/data/camvid")
    assert same.model.init == "runs/lraspp_mobilenet_v3_small-camvid-coarse/checkpoint"
    assert same.notice
    bundled = override(read_recipe("fast_scnn-nuclei"), data="/data/mine")
    assert bundled.model.init == read_recipe("fast_scnn-nuclei").model.init
    compression = override_pipeline(read_pipeline("bisenet_v2-camvid-int8"), data="/data/mine")
    assert compression.model == "runs/bisenet_v2-mine-coarse/checkpoint"


def test_override_puts_the_users_own_in_place() -> None:
    recipe = override(read_recipe("fast_scnn-camvid"), data="here", encoder="e.pth", epochs=3, seed=9)
    assert (recipe.data.train, recipe.data.val) == ("here", "")
    assert (recipe.model.init, recipe.model.encoder) == ("", "e.pth")
    assert (recipe.schedule.epochs, recipe.run.seed) == (3, 9)
    assert override(read_recipe("fast_scnn-camvid"), epochs=1).schedule.warmup_epochs < 1
    with pytest.raises(InputError, match=r"^epochs 0: .*epochs must be 1 or more"):
        override(recipe, epochs=0)
    with pytest.raises(InputError, match=r"^seed -1: .*seed 0 or more"):
        override(recipe, seed=-1)
