"""The stages that change a net at once, `swap`, `gates` and `equalize`, in a pipeline of their own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch
from compress.pipeline_sittings import sittings
from compress.small_teacher import small_teacher

from edgeseg.compress.pipeline.checks import check_start
from edgeseg.compress.pipeline.dry_run import plan_pipeline
from edgeseg.compress.pipeline.recipe import PipelineRecipe, parse_pipeline, read_pipeline
from edgeseg.compress.pipeline.run import CompressionResult, run_pipeline
from edgeseg.data import open_dataset
from edgeseg.errors import InputError, UnknownName
from edgeseg.models import load_checkpoint
from edgeseg.models.checkpoint import read_spec

if TYPE_CHECKING:
    from pathlib import Path

TEXT = """
schema = 1
name = "small"
model = "MODEL"
[data]
train = "streets:4"
[calibration]
count = 2
[[stages]]
kind = "swap"
architecture = "lraspp_mobilenet_v3_small_relu"
images = 4
[[stages]]
kind = "gates"
agreement = 0.05
images = 4
[[stages]]
kind = "equalize"
images = 4
"""
NAME, RELU = "lraspp_mobilenet_v3_small", "lraspp_mobilenet_v3_small_relu"


def recipe(model: Path | str, *stages: dict[str, object]) -> PipelineRecipe:
    table: dict[str, object] = {
        "schema": 1,
        "name": "small",
        "model": str(model),
        "data": {"train": "streets:4"},
        "stages": list(stages),
    }
    return parse_pipeline(table, where="r.toml")


def written(folder: Path, *, model: Path) -> Path:
    """Write the stages as a recipe and return its file."""
    file = folder / "small.toml"
    file.write_text(TEXT.replace("MODEL", str(model)), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    classes = open_dataset("streets:4", split="train").classes
    return small_teacher(tmp_path_factory.mktemp("start") / "start", classes=classes, name=NAME)


@pytest.fixture(scope="module")
def done(model: Path, tmp_path_factory: pytest.TempPathFactory) -> CompressionResult:
    folder, threads = tmp_path_factory.mktemp("done"), torch.get_num_threads()
    torch.set_num_threads(1)
    result = run_pipeline(read_pipeline(written(folder, model=model)), out=folder / "run", command="test")
    torch.set_num_threads(threads)
    return result


def test_the_result_is_of_the_other_architecture_with_its_scores(done: CompressionResult, model: Path) -> None:
    assert read_spec(model).architecture == NAME
    assert load_checkpoint(done.checkpoint).spec.architecture == RELU
    for folder, key in (("01-swap", "swap"), ("02-gates", "losses"), ("03-equalize", "links")):
        account = json.loads((done.checkpoint.parent / folder / "checkpoint" / "training.json").read_text("utf-8"))
        assert account["val"]["images"] > 0
        assert account[key]
    assert load_checkpoint(done.checkpoint).spec.bypassed
    # With ReLU alone every inner convolution's channels can be evened out; hard-swish parts most of them.
    links = [link["link"] for link in account["links"]]
    assert any("encoder.features.9" in link for link in links)


@pytest.mark.slow
def test_a_run_killed_in_every_stage_ends_with_the_same_bytes(
    done: CompressionResult, model: Path, tmp_path: Path
) -> None:
    assert done.checkpoint is not None
    file, out = written(tmp_path, model=model), tmp_path / "killed"
    places = ("swap", "gates", "equalize")
    assert sittings(file, out, *places) == [*(f"{place} killed" for place in places), "end done"]
    for name in ("01-swap/checkpoint", "02-gates/checkpoint", "03-equalize/checkpoint", "checkpoint"):
        left, right = (run / name / "weights.safetensors" for run in (out, done.checkpoint.parent))
        assert left.read_bytes() == right.read_bytes()


def test_the_plan_says_the_work_is_the_same(model: Path) -> None:
    planned = plan_pipeline(recipe(model, {"kind": "swap", "architecture": RELU})).stages[0]
    assert planned.settings == {"architecture": RELU}
    assert planned.before.macs == planned.after.macs


def test_the_plan_leaves_out_the_gates_that_can_go(model: Path) -> None:
    gates = {"kind": "gates", "agreement": 0.05, "images": 4}
    equalized, folded = plan_pipeline(recipe(model, {"kind": "equalize"}, gates)).stages
    assert folded.before == equalized.after
    assert folded.after.parameters < folded.before.parameters
    assert folded.after.macs < folded.before.macs


@pytest.mark.parametrize(
    ("architecture", "kind", "words"),
    [
        ("fast_scnn", InputError, f"fast_scnn has other layers than {NAME}"),
        ("lraspp_relu", UnknownName, 'Unknown model "lraspp_relu"'),
    ],
)
def test_an_architecture_that_does_not_fit_is_told_before_any_stage(
    model: Path, architecture: str, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        check_start(
            recipe(model, {"kind": "finetune", "run": {"batch": 2}}, {"kind": "swap", "architecture": architecture})
        )


def test_a_net_without_gates_is_told_before_any_stage() -> None:
    with pytest.raises(InputError, match="no squeeze-and-excite gate"):
        check_start(recipe("fast_scnn:streets", {"kind": "finetune", "run": {"batch": 2}}, {"kind": "gates"}))


def test_a_net_without_its_gates_trains_on(done: CompressionResult, tmp_path: Path) -> None:
    table = {
        "kind": "finetune",
        "run": {"batch": 2},
        "schedule": {"epochs": 1, "warmup_epochs": 0},
        "loss": {"aux": 0.4},
    }
    assert done.checkpoint is not None
    tuned = run_pipeline(recipe(done.checkpoint, table), out=tmp_path / "run", command="test")
    assert tuned.checkpoint is not None
    assert load_checkpoint(tuned.checkpoint).spec.bypassed == load_checkpoint(done.checkpoint).spec.bypassed
