"""The compression recipe: strict, short, and with its stages in plain sight."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from edgeseg.compress.distill.recipe import DistillRecipe
from edgeseg.compress.pipeline import run
from edgeseg.compress.pipeline.checks import check_start
from edgeseg.compress.pipeline.recipe import compression_recipes, parse_pipeline, read_pipeline
from edgeseg.compress.pipeline.training_stage import TrainingStage
from edgeseg.compress.prune.prune_stage import PruneStage
from edgeseg.compress.prune.sparsify_stage import SparsifyStage
from edgeseg.errors import EdgesegError, InputError, RecipeError, TrainingError
from edgeseg.models import load_checkpoint, resolve_model
from edgeseg.train.recipe import SamplingRecipe

if TYPE_CHECKING:
    from pathlib import Path

BASE: dict[str, object] = {
    "schema": 1,
    "name": "small",
    "model": "fast_scnn:streets",
    "data": {"train": "streets:8"},
    "training": {"schedule": {"epochs": 5}, "run": {"batch": 4, "seed": 7}},
}


def stages(*tables: dict[str, object], **more: object) -> dict[str, object]:
    return {**BASE, **more, "stages": list(tables)}


def test_a_stage_takes_what_it_leaves_out_from_training() -> None:
    own = {"kind": "finetune", "schedule": {"epochs": 2}, "run": {"seed": 9}}
    recipe = parse_pipeline(stages(own, {"kind": "qat"}), where="r.toml")
    first, second = (stage.training for stage in recipe.stages)
    assert (first.schedule.epochs, first.run.batch, first.run.seed) == (2, 4, 9)
    assert (second.schedule.epochs, second.run.batch, second.run.seed) == (5, 4, 7)


def test_stages_sample_rare_classes_as_a_training_does() -> None:
    recipe = parse_pipeline(stages({"kind": "finetune"}, training={"sampling": {"focus": 0.5}}), where="r.toml")
    job = SimpleNamespace(
        parent=resolve_model("fast_scnn:streets"), result="x", size=(64, 96), data=recipe.data, licence="CC0-1.0",
        notice="",
    )  # fmt: skip
    (stage,) = recipe.stages
    assert isinstance(stage, TrainingStage)
    assert stage.training_recipe(job).sampling == SamplingRecipe(focus=0.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["distill", "qat"])
def test_stored_teachers_do_not_see_pasted_pixels(kind: str) -> None:
    checkpoint = load_checkpoint(resolve_model("fast_scnn:streets"))
    coming = SimpleNamespace(spec=checkpoint.spec, net=checkpoint.net, images=8)
    for live in (True, False):
        teachers = {"teachers": ["fast_scnn:streets"], "live": live}
        table = {"kind": kind, **(teachers if kind == "distill" else {"distill": teachers}), "sampling": {"paste": 0.3}}
        (stage,) = parse_pipeline(stages(table), where="r.toml").stages
        if live:
            assert stage.check(coming) is coming  # type: ignore[arg-type, comparison-overlap]
            continue
        with pytest.raises(RecipeError, match=r"\[sampling\] paste = 0\.3, but .* live = true for this teacher"):
            stage.check(coming)  # type: ignore[arg-type]


def test_qat_may_listen_to_teachers() -> None:
    table = {"kind": "qat", "distill": {"teachers": ["fast_scnn:streets"]}}
    settings = parse_pipeline(stages(table), where="r.toml").stages[0].settings
    assert isinstance(settings.distill, DistillRecipe)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"kind": "prun", "macs": 0.5}, r'r\.toml\.stages\[0\]\.kind: Unknown stage "prun"\. Did you mean "prune"\?'),
        ({"kind": "prune", "mac": 0.5}, r'r\.toml\.stages\[0\]: unknown key "mac".*Did you mean "macs"\?'),
        ({"kind": "prune", "macs": 0.5, "schedule": {}}, 'unknown key "schedule" of kind = "prune"'),
        ({"kind": "prune"}, "exactly one of macs, parameters"),
        ({"kind": "prune", "ms": 3.0}, "need the engine"),
        ({"kind": "finetune", "schedule": {"epoch": 1}}, r'stages\[0\]\.schedule: unknown key "epoch".*"epochs"'),
        ({"kind": "distill"}, r'stages\[0\]: the key "teachers" is missing'),
        ({"kind": "sparsify", "sparsity": 1.5}, "share of weights"),
        ({"macs": 0.5}, "needs a table with a kind"),
    ],
)
def test_a_fault_is_told_with_its_place(table: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse_pipeline(stages(table), where="r.toml")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("macs = 0.5", "mac = 0.5", r't\.toml:10: stages\[0\]: unknown key "mac"'),
        ('kind = "qat"', 'kind = "qad"', r't\.toml:15: stages\[2\]\.kind: Unknown stage "qad"'),
        ("batch = 4", "batch = 0", r"t\.toml:7: training\.run: batch"),
        ("epochs = 2", 'epochs = "2"', r"t\.toml:12: stages\[1\]\.schedule\.epochs: expected an integer"),
        ("live = true", "live = 1", r"t\.toml:18: stages\[2\]\.distill\.live: expected true or false"),
        ("macs = 0.5", "", r"t\.toml:8: stages\[0\]: give exactly one of macs"),
        ('model = "fast_scnn:streets"', "", r't\.toml: the key "model" is missing'),
    ],
)
def test_a_fault_in_a_file_is_told_with_its_line(old: str, new: str, words: str, tmp_path: Path) -> None:
    text = (
        'schema = 1\nname = "small"\nmodel = "fast_scnn:streets"\n[data]\ntrain = "streets:8"\n'
        '[training]\nrun = { batch = 4 }\n[[stages]]\nkind = "prune"\nmacs = 0.5\n'
        '[[stages]]\nschedule = { epochs = 2 }\nkind = "finetune"\n'
        '[[stages]]\nkind = "qat"\n[stages.distill]\nteachers = ["fast_scnn:streets"]\nlive = true\n'
    )
    path = tmp_path / "t.toml"
    path.write_text(text, encoding="utf-8")
    read_pipeline(path)
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(RecipeError, match=words):
        read_pipeline(path)


def test_former_names_of_keys_are_read() -> None:
    tables = [{"kind": "prune", "macs": 0.5, "pictures": 4}, *({"kind": "equalize", key: True} for key in FORMER)]
    prune, *equalize = (stage.settings for stage in parse_pipeline(stages(*tables), where="r.toml").stages)
    assert prune.images == 4  # type: ignore[attr-defined]
    assert [settings.share_input_normalization for settings in equalize] == [True] * 3  # type: ignore[attr-defined]


FORMER = ("picture", "image", "share_input_normalization")


def test_a_recipe_without_stages_or_of_another_schema_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"no \[\[stages\]\]"):
        parse_pipeline(BASE, where="r.toml")
    with pytest.raises(RecipeError, match="this version reads schema = 1"):
        parse_pipeline({**stages({"kind": "finetune"}), "schema": 2}, where="r.toml")


@pytest.mark.parametrize(
    ("kinds", "message"),
    [
        (("qat", "prune"), '"prune" after "qat" changes the weights.*Put "qat" last'),
        (("qat", "finetune"), '"finetune" after "qat"'),
        (("sparsify", "finetune"), '"finetune" after "sparsify" trains its zeros away'),
    ],
)
def test_an_order_that_loses_what_a_stage_trained_is_refused(kinds: tuple[str, ...], message: str) -> None:
    own: dict[str, dict[str, object]] = {"prune": {"macs": 0.5}, "sparsify": {"sparsity": 0.5}}
    with pytest.raises(RecipeError, match=message):
        parse_pipeline(stages(*({"kind": kind, **own.get(kind, {})} for kind in kinds)), where="r.toml")


@pytest.mark.parametrize("name", ["", "../elsewhere", ".hidden"])
def test_a_name_that_is_no_folder_is_refused(name: str) -> None:
    with pytest.raises(RecipeError, match="it names folders"):
        parse_pipeline(stages({"kind": "finetune"}, name=name), where="r.toml")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"kind": "qat", "float_layers": ["net.classifer"]}, 'Did you mean "net.classifier"'),
        ({"kind": "prune", "macs": 0.5, "keep": ["classifer"]}, 'Did you mean "classifier"'),
        ({"kind": "sparsify", "sparsity": 0.5, "keep": ["classifer"]}, 'Did you mean "classifier"'),
        ({"kind": "lottery", "sparsity": 0.5, "rewind": "fast_scnn:streets-half"}, "of other widths"),
    ],
)
def test_names_of_layers_and_checkpoints_are_checked_before_any_stage(table: dict[str, object], message: str) -> None:
    with pytest.raises(EdgesegError, match=message):
        check_start(parse_pipeline(stages(table), where="r.toml"))


def test_other_classes_and_missing_data_are_told_before_any_stage(tmp_path: Path) -> None:
    for name, value in (("train", "0.png"), ("val", "1.png")):
        for kind in ("images", "labels"):
            (tmp_path / kind / name).mkdir(parents=True)
            (tmp_path / kind / name / value).touch()
    (tmp_path / "classes.txt").write_text("cat\ndog\n", encoding="utf-8")
    other = parse_pipeline(stages({"kind": "finetune"}, data={"train": str(tmp_path)}), where="r.toml")
    with pytest.raises(InputError, match="Compress a checkpoint that was trained on the data's classes"):
        check_start(other)
    missing = parse_pipeline(stages({"kind": "finetune"}, data={"train": "nowhere"}), where="r.toml")
    with pytest.raises(InputError, match="nowhere"):
        check_start(missing)
    large = parse_pipeline(stages({"kind": "finetune", "run": {"batch": 99}}), where="r.toml")
    with pytest.raises(InputError, match="only 8 training images"):
        check_start(large)


def test_the_bundled_recipes_are_read() -> None:
    for name in compression_recipes():
        kinds = [stage.name for stage in read_pipeline(name).stages]
        assert kinds[0] in ("swap", "prune", "equalize", "qat", "distill"), name
        assert kinds[-1] in ("qat", "half_weights") or f"{name}-int8" in compression_recipes(), name
    assert all(read_pipeline(name).name == name for name in compression_recipes())
    with pytest.raises(EdgesegError, match='Did you mean "fast_scnn-camvid-half"'):
        read_pipeline("fast_scnn-camvid-hal")


def test_what_a_change_leaves_is_lost_by_training_after_it_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PruneStage, "leaves", SparsifyStage.leaves)
    prune, train = {"kind": "prune", "macs": 0.5}, {"kind": "finetune"}
    for tables in ((prune,), (train, prune)):
        parse_pipeline(stages(*tables), where="r.toml")
    with pytest.raises(RecipeError, match='"finetune" after "prune" trains its zeros away'):
        parse_pipeline(stages(prune, train), where="r.toml")


def test_a_full_disk_before_a_stage_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    recipe = parse_pipeline(stages({"kind": "finetune"}), where="r.toml")
    job = SimpleNamespace(folder=tmp_path / "run", data=recipe.data, size=(64, 96), parent=tmp_path, data_sha256={})
    found = {"_check_records": None, "resolved": {}, "read_spec": SimpleNamespace(weights_sha256="")}
    for name, result in found.items():
        monkeypatch.setattr(run, name, lambda *_, result=result, **__: result)
    for name in ("write_json", "begin"):
        monkeypatch.setattr(run, name, full)
    words = r"run: cannot be written: No space left on device.*--resume"
    with pytest.raises(TrainingError, match=words):
        run._prepare(recipe, out=job.folder, start=None, chosen=None, identities={})  # type: ignore[arg-type]
    begun = SimpleNamespace(done=False)
    with pytest.raises(TrainingError, match=words):
        run._finished(recipe.stages[0], job, begun=begun, on_event=None)  # type: ignore[arg-type]
