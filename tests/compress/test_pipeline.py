"""Whole pipelines: what they leave, and that they go on bit for bit from wherever they were cut off."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import shutil
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import pytest
import torch
from compress.pipeline_sittings import sittings
from contracts.deployable import trained_folder

from edgeseg.cli.main import main
from edgeseg.compress.pipeline.recipe import read_pipeline
from edgeseg.compress.pipeline.run import CompressionResult, run_pipeline
from edgeseg.core.atomic import lock
from edgeseg.core.files import read_json
from edgeseg.core.quantization import Ranges
from edgeseg.data import open_dataset
from edgeseg.errors import InputError, UnknownName
from edgeseg.export import calibrate_ranges
from edgeseg.models import load_checkpoint
from edgeseg.models.lineage import read_lineage
from edgeseg.train import StepDone

if TYPE_CHECKING:
    from collections.abc import Iterator

RECIPE = """
schema = 1
name = "tiny"
model = "START"
size = [64, 96]
[data]
train = "IMAGES"
[calibration]
count = 4
[training]
schedule = { epochs = 1, warmup_epochs = 0 }
run = { batch = 2, tensorboard = false, seed = 3, save_every_steps = 2, ema = 0.5 }
optimizer = { rate = 1e-3 }
loss = { stride = 3 }
[[stages]]
kind = "prune"
macs = 0.5
images = 4
[[stages]]
kind = "finetune"
[[stages]]
kind = "distill"
teachers = ["START"]
cache = "CACHE"
[[stages]]
kind = "qat"
"""
STAGES = ("01-prune", "02-finetune", "03-distill", "04-qat")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@dataclass(frozen=True, kw_only=True)
class Whole:
    """One unbroken run: its recipe, its folder, its result, and the folder of data and stored teacher's answers."""

    recipe: Path
    out: Path
    result: CompressionResult
    shared: Path


def write(path: Path, *, shared: Path, text: str = RECIPE) -> Path:
    text = text.replace("CACHE", str(shared / "answers")).replace("IMAGES", str(shared / "images"))
    text = text.replace("START", str(trained_folder()))
    path.write_text(text, encoding="utf-8")
    return path


def draw(folder: Path) -> None:
    """Write a data set of small streets, so that no sitting renders them again."""
    for split, count in (("train", 8), ("val", 2)):
        streets = open_dataset(f"streets:{count}", split=split)
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True)
        for index in range(count):
            sample = streets.load(index)
            image = cv2.resize(sample.image, (96, 64), interpolation=cv2.INTER_AREA)
            labels = cv2.resize(sample.labels, (96, 64), interpolation=cv2.INTER_NEAREST_EXACT)
            cv2.imwrite(str(folder / "images" / split / f"{index}.png"), image)
            cv2.imwrite(str(folder / "labels" / split / f"{index}.png"), labels)
    (folder / "classes.txt").write_text("\n".join(streets.classes) + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("whole")
    draw(folder / "images")
    recipe = write(folder / "tiny.toml", shared=folder)
    result = run_pipeline(read_pipeline(recipe), out=folder / "run", command="edgeseg compress tiny", accelerator="cpu")
    return Whole(recipe=recipe, out=folder / "run", result=result, shared=folder)


def test_each_stage_has_its_folder_score_and_cost(whole: Whole) -> None:
    out, result = whole.out, whole.result
    assert [item.folder for item in result.stages] == ["", *STAGES]
    start, pruned, *trained = result.stages
    assert 0.4 < pruned.macs / start.macs <= 0.5
    assert {item.macs for item in trained} == {pruned.macs}
    assert all(item.miou is not None and 0 <= item.miou <= 1 for item in (pruned, *trained))
    for name in STAGES:
        assert (out / name / "stage.json").is_file()
        assert load_checkpoint(out / name / "checkpoint").spec.name == "tiny"


def test_the_final_checkpoint_is_the_last_stages_with_ranges(whole: Whole) -> None:
    out, result = whole.out, whole.result
    assert result.checkpoint == out / "checkpoint"
    checkpoint = load_checkpoint(result.checkpoint)
    ranges = read_json(Ranges, result.checkpoint / "ranges.json")
    assert ranges.weights_sha256 == checkpoint.spec.weights_sha256
    assert ranges.mode == "qat"
    assert weights(out, "checkpoint") == weights(out, "04-qat/checkpoint")


def weights(out: Path, name: str) -> bytes:
    return (out / name / "weights.safetensors").read_bytes()


def test_the_lineage_is_a_chain_from_the_first_training(whole: Whole) -> None:
    steps = read_lineage(whole.out / "checkpoint")
    assert [step.stage for step in steps] == ["train", "prune", "finetune", "distill", "qat"]
    for before, after in itertools.pairwise(steps):
        assert after.parent_sha256 == before.weights_sha256
    assert steps[-1].weights_sha256 == load_checkpoint(whole.out / "checkpoint").spec.weights_sha256
    assert steps[2].seed == 3
    assert steps[2].settings["optimizer.rate"] == 1e-3
    assert (steps[2].data[0].name, steps[2].data[0].split, steps[2].data[0].images) == ("images", "train", 8)
    assert steps[1].settings["macs"] == 0.5
    assert str(whole.out.parent) not in (whole.out / "checkpoint" / "lineage.json").read_text(encoding="utf-8")


def test_a_run_killed_while_it_trains_ends_with_the_same_bytes(whole: Whole, tmp_path: Path) -> None:
    text = RECIPE[: RECIPE.index('[[stages]]\nkind = "distill"')]
    killed = tmp_path / "killed"
    recipe = write(tmp_path / "short.toml", shared=whole.shared, text=text)
    assert sittings(recipe, killed, "finetune") == ["finetune killed", "end done"]
    for name in STAGES[:2]:
        assert weights(killed, f"{name}/checkpoint") == weights(whole.out, f"{name}/checkpoint")


@pytest.mark.slow
def test_a_run_killed_in_every_stage_ends_with_the_same_bytes(whole: Whole, tmp_path: Path) -> None:
    # Without qat at its end a pipeline observes ranges, and is cut off in that too.
    short = write(tmp_path / "short.toml", shared=whole.shared, text=RECIPE[: RECIPE.rindex("[[stages]]")])
    places = ("prune", "finetune", "distill", "calibration")
    killed = tmp_path / "killed"
    assert sittings(short, killed, *places) == [*(f"{place} killed" for place in places), "end done"]
    for name in STAGES[:3]:
        assert weights(killed, f"{name}/checkpoint") == weights(whole.out, f"{name}/checkpoint")
    observed = calibrate_ranges(
        load_checkpoint(whole.out / "03-distill" / "checkpoint"), str(whole.shared / "images"), count=4
    ).ranges
    assert read_json(Ranges, killed / "checkpoint" / "ranges.json") == observed
    # The same pipeline goes on with one more stage, and is killed in that.
    assert sittings(whole.recipe, killed, "qat") == ["qat killed", "end done"]
    for name in ("04-qat/checkpoint", "checkpoint"):
        assert weights(killed, name) == weights(whole.out, name)
    left, right = ((run / "checkpoint" / "ranges.json").read_text() for run in (killed, whole.out))
    assert left == right


def test_finished_stages_are_taken_as_they_are(whole: Whole) -> None:
    recipe, out, result = whole.recipe, whole.out, whole.result
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
    assert run_pipeline(read_pipeline(recipe), out=out, resume=True) == result
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")} == times


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("macs = 0.5", "macs = 0.6", r"01-prune: was made with macs = 0\.5; the recipe now says 0\.6"),
        ("rate = 1e-3", "rate = 1e-2", r"02-finetune: was made with optimizer\.rate = 0\.001"),
        ('"IMAGES"', '"streets:8"', r"01-prune: was made with data\.train = 'images'"),
        ('kind = "finetune"\n', "", "stage 2 of another recipe|kind"),
    ],
)
def test_a_stage_of_other_settings_is_neither_reused_nor_redone(
    old: str, new: str, message: str, whole: Whole, tmp_path: Path
) -> None:
    text = RECIPE.replace("[[stages]]\n" + old, new) if not new else RECIPE.replace(old, new)
    before = sorted(path.stat().st_mtime_ns for path in whole.out.rglob("*"))
    with pytest.raises(InputError, match=message):
        run_pipeline(
            read_pipeline(write(tmp_path / "tiny.toml", shared=whole.shared, text=text)), out=whole.out, resume=True
        )
    assert sorted(path.stat().st_mtime_ns for path in whole.out.rglob("*")) == before


def test_a_stage_made_from_an_earlier_stages_old_weights_is_refused(whole: Whole, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(whole.out, out)
    shutil.rmtree(out / "02-finetune")
    text = RECIPE.replace('kind = "finetune"\n', 'kind = "finetune"\noptimizer = { rate = 2e-3 }\n', 1)
    recipe = read_pipeline(write(tmp_path / "tiny.toml", shared=whole.shared, text=text))
    with pytest.raises(InputError, match=r"03-distill: was made from the weights .*the stage before it now gives"):
        run_pipeline(recipe, out=out, resume=True)


def test_another_data_set_of_the_same_name_is_not_gone_on_with(whole: Whole, tmp_path: Path) -> None:
    shutil.copytree(whole.shared / "images", tmp_path / "images")
    (tmp_path / "images" / "images" / "train" / "3.png").write_bytes(
        (tmp_path / "images" / "images" / "train" / "4.png").read_bytes()
    )
    text = RECIPE.replace("CACHE", str(whole.shared / "answers"))
    recipe = write(tmp_path / "tiny.toml", shared=tmp_path, text=text)
    before = sorted(path.stat().st_mtime_ns for path in whole.out.rglob("*"))
    with pytest.raises(
        InputError,
        match=r"01-prune: was made with other train data than images train is now: 1 of 8 samples are changed",
    ):
        run_pipeline(read_pipeline(recipe), out=whole.out, resume=True)
    assert sorted(path.stat().st_mtime_ns for path in whole.out.rglob("*")) == before
    used = read_lineage(whole.out / "checkpoint")[1].data
    assert all(len(item.sha256) == 64 for item in used)


def test_two_processes_do_not_write_one_folder(whole: Whole) -> None:
    with lock(whole.out), pytest.raises(InputError, match=r"run: another process \(PID \d+\) is writing it"):
        run_pipeline(read_pipeline(whole.recipe), out=whole.out, resume=True)


def test_a_folder_that_is_not_ours_or_holds_a_run_is_left_alone(whole: Whole, tmp_path: Path) -> None:
    recipe = read_pipeline(whole.recipe)
    with pytest.raises(InputError, match=r"already holds a pipeline\. Continue it with --resume"):
        run_pipeline(recipe, out=whole.out)
    (tmp_path / "letter.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="was not made by edgeseg"):
        run_pipeline(recipe, out=tmp_path)
    with pytest.raises(InputError, match="01-prune: is not done; run the stages before stage 3 first"):
        run_pipeline(recipe, out=tmp_path / "new", only="distill")
    with pytest.raises(UnknownName, match='Did you mean "distill"'):
        run_pipeline(recipe, out=tmp_path / "new", only="distil")
    assert not (tmp_path / "new").exists()


def test_one_stage_alone(whole: Whole) -> None:
    result = run_pipeline(read_pipeline(whole.recipe), out=whole.out, only="finetune")
    assert [item.folder for item in result.stages] == ["", "01-prune", "02-finetune"]
    assert result.checkpoint is None


def test_an_interrupt_leaves_a_state_and_says_how_to_go_on(
    whole: Whole, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Path(shutil.copytree(whole.out, tmp_path / "run"))
    shutil.rmtree(out / "04-qat")
    shutil.rmtree(out / "03-distill")
    arguments = ["compress", str(whole.recipe), "--out", str(out), "--resume"]
    monkeypatch.setattr(sys, "argv", ["edgeseg", *arguments])
    monkeypatch.setattr("edgeseg.cli.compress._watch", lambda *_, **__: interrupt)
    assert main(arguments) == 130
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("edgeseg: interrupted. Continue with: edgeseg compress")
    assert lines[-1].endswith(f"--out {out} --resume")
    assert torch.load(out / "03-distill" / "state.pt", weights_only=True)["progress"]["step"] == 1


def interrupt(event: object) -> None:
    if isinstance(event, StepDone) and event.step == 1:
        os.kill(os.getpid(), signal.SIGINT)


def test_inspect_tells_cost_ranges_and_lineage(whole: Whole, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(whole.out / "checkpoint"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["macs"] == whole.result.stages[-1].macs
    assert found["ranges"]["mode"] == "qat"
    assert [step["stage"] for step in found["lineage"]] == ["train", "prune", "finetune", "distill", "qat"]
    assert all(layer["after"] < layer["before"] for layer in found["pruned"])
    assert main(["inspect", str(whole.out / "checkpoint")]) == 0
    printed = capsys.readouterr().out
    assert "trained, 8 images of" in printed
    assert "channels (" in printed


def test_the_lineage_reaches_the_artifact(
    whole: Whole, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeseg.deploy import gate
    from edgeseg.verbs.convert import convert

    # A net of a dozen steps is sure of few labels, so that rounding moves more of them than the gate allows.
    lenient = dataclasses.replace(
        gate.THRESHOLDS[0],
        label_agreement=0.5,
        decided_agreement=0.5,
        class_agreement=0,
        sqnr_db=0,
        boundary_agreement=0,
    )
    monkeypatch.setitem(gate.THRESHOLDS, 0, lenient)
    artifact = convert(str(whole.out / "checkpoint"), target="onnx", precision="int8", out=tmp_path / "artifact")[0]
    lineage = artifact.manifest.lineage
    assert lineage.steps == read_lineage(whole.out / "checkpoint")
    assert lineage.parents == tuple(step.weights_sha256 for step in lineage.steps[:-1])
    assert main(["inspect", str(tmp_path / "artifact"), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["lineage"]) == 5
    # ONNX Runtime's own intermediate tensors tell the same as the fake-quantized net.
    words = ["--count", "1", "--json"]
    assert main(["debug-quant", str(whole.out / "checkpoint"), *words]) == 0
    simulated = json.loads(capsys.readouterr().out)
    model = str(whole.out / "checkpoint")
    assert main(["debug-quant", str(tmp_path / "artifact"), "--checkpoint", model, "--out", str(tmp_path), *words]) == 0
    real = json.loads(capsys.readouterr().out)
    assert [item["layer"] for item in real["layers"]] == [item["layer"] for item in simulated["layers"]]
    for left, right in zip(real["layers"], simulated["layers"], strict=True):
        assert left["own_db"] == pytest.approx(right["own_db"], abs=0.1)
        assert left["sqnr_db"] == pytest.approx(right["sqnr_db"], abs=1.5)
    assert (tmp_path / "debug-quant.json").is_file()
    assert (tmp_path / "debug-quant.png").read_bytes().startswith(b"\x89PNG")


def test_the_plan_prunes_for_real_and_writes_nothing(
    whole: Whole,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["compress", str(whole.recipe), "--dry-run", "--json"]) == 0
    stages = json.loads(capsys.readouterr().out)["stages"]
    assert [(stage["folder"], stage["epochs"], stage["steps"]) for stage in stages] == [
        ("01-prune", 0, 0), ("02-finetune", 1, 4), ("03-distill", 1, 4), ("04-qat", 1, 4)
    ]  # fmt: skip
    assert stages[0]["before"]["macs"] == whole.result.stages[0].macs
    assert [stage["after"]["macs"] for stage in stages] == [item.macs for item in whole.result.stages[1:]]
    assert not list(tmp_path.iterdir())
