"""Whole distillations: what they keep, that the teacher has an effect, and that they go on bit for bit."""

from __future__ import annotations

import copy
import dataclasses
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from compress.small_teacher import small_teacher
from train.small import metrics, recipe

from edgeseg.compress.distill.method import Distill
from edgeseg.compress.distill.recipe import DistillRecipe, FeaturePair
from edgeseg.core.files import write_json
from edgeseg.data.streets import CLASSES
from edgeseg.errors import ArtifactError, InputError, TrainingError, UnknownName
from edgeseg.graph.forward_hooks import Adapted, tapped
from edgeseg.models import build, load_checkpoint
from edgeseg.train import Event, Loading, OnEvent, Recipe, StepDone, train

if TYPE_CHECKING:
    from collections.abc import Iterator

WORKER = Path(__file__).with_name("distill_worker.py")
RUN = recipe(run={"save_every_steps": 1, "batch": 4}, data={"train": "streets:8", "val": "streets:2"})


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a teacher in `net`; the answers are stored in `answers`."""
    made = tmp_path_factory.mktemp("distill")
    small_teacher(made / "net", classes=CLASSES)
    return made


def settings(folder: Path, *, kind: str) -> DistillRecipe:
    common = DistillRecipe(teachers=(str(folder / "net"),), channels=3.0, cache=str(folder / "answers"), fade_from=0.5)
    if kind == "stored":
        return dataclasses.replace(common, pairs=1.0, pixels=1.0, flip=True)
    pair = FeaturePair(student="fusion", teacher="encoder.features.3", weight=2.0)
    return dataclasses.replace(common, live=True, features=(pair,))


def losses(given: Recipe, *, out: Path, method: Distill | None = None) -> list[float]:
    seen: list[float] = []
    train(given, out=out, method=method, on_event=lambda e: seen.append(e.loss) if isinstance(e, StepDone) else None)
    return seen


def in_another_process(distill: DistillRecipe, *, out: Path, kill_at: int) -> subprocess.CompletedProcess[str]:
    files = [out.with_suffix(".recipe.json"), out.with_suffix(".distill.json")]
    write_json(RUN, files[0])
    write_json(distill, files[1])
    words = [sys.executable, str(WORKER), *map(str, files), str(out), str(kill_at)]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def fail_at(step: int) -> OnEvent:
    def watch(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == step:
            raise RuntimeError("the power fails")

    return watch


@pytest.mark.parametrize("kind", ["stored", "features"])
def test_a_killed_distillation_resumes_bit_for_bit(folder: Path, tmp_path: Path, kind: str) -> None:
    distill = settings(folder, kind=kind)
    result = train(RUN, out=tmp_path / "whole", method=Distill(distill))
    out = tmp_path / "run"
    if kind == "stored":
        killed = in_another_process(distill, out=out, kill_at=3)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
    else:
        with pytest.raises(RuntimeError, match="the power fails"):
            train(RUN, out=out, method=Distill(distill), on_event=fail_at(3))
    assert torch.load(out / "state.pt", weights_only=True)["progress"]["step"] == 2
    train(RUN, out=out, resume=True, method=Distill(distill))
    ends = [torch.load(path / "state.pt", weights_only=True) for path in (tmp_path / "whole", out)]
    for part in ("net", "average"):
        left, right = (end[part] for end in ends)
        assert left.keys() == right.keys()
        assert all(torch.equal(value, right[key]) for key, value in left.items())
    assert any(key.startswith("adapters.") for key in ends[0]["net"]) == (kind == "features")
    assert metrics(out) == metrics(tmp_path / "whole")
    # What is kept is the student alone, with the account of its teacher.
    kept = load_checkpoint(result.checkpoint)
    account = json.loads((result.checkpoint / "training.json").read_text(encoding="utf-8"))
    assert kept.net.state_dict().keys() == build("fast_scnn", classes=len(CLASSES), size=(64, 96)).state_dict().keys()
    assert account["teachers"][0]["sha256"] == load_checkpoint(folder / "net").spec.weights_sha256
    assert account["distill"]["channels"] == 3.0
    assert str(folder) not in json.dumps(account)


def test_other_settings_or_another_teacher_are_not_resumed(folder: Path, tmp_path: Path) -> None:
    distill = settings(folder, kind="stored")
    once = dataclasses.replace(RUN, schedule=dataclasses.replace(RUN.schedule, epochs=1))
    train(once, out=tmp_path / "run", method=Distill(distill))
    small_teacher(tmp_path / "other", classes=CLASSES, name="fast_scnn")
    for other in (
        dataclasses.replace(distill, temperature=2.0),
        dataclasses.replace(distill, teachers=(str(tmp_path / "other"),)),
    ):
        with pytest.raises(TrainingError, match="belongs to another recipe"):
            train(once, out=tmp_path / "run", resume=True, method=Distill(other))
    moved = dataclasses.replace(distill, cache=str(tmp_path / "answers"))
    train(once, out=tmp_path / "run", resume=True, method=Distill(moved))


def test_a_teacher_that_is_not_yet_used_changes_nothing(folder: Path, tmp_path: Path) -> None:
    plain = losses(RUN, out=tmp_path / "plain")
    late = dataclasses.replace(settings(folder, kind="stored"), start=0.5)
    taught = losses(RUN, out=tmp_path / "taught", method=Distill(late))
    assert len(plain) == len(taught) == 4
    assert taught[:2] == plain[:2]
    assert taught[2] > plain[2] + 0.1


def test_a_student_comes_nearer_to_its_teacher(folder: Path, tmp_path: Path) -> None:
    only = DistillRecipe(teachers=(str(folder / "net"),), labels=0.0, temperature=1.0, cache=str(folder / "answers"))
    longer = recipe(
        data={"train": "streets:8", "val": "streets:2"}, schedule={"epochs": 8}, optimizer={"name": "adamw"},
        run={"evaluate_every": 8},
    )  # fmt: skip
    found = losses(longer, out=tmp_path / "run", method=Distill(only))
    assert sum(found[-4:]) < 0.7 * sum(found[:4])


def test_the_teachers_pass_is_reported_and_done_once(folder: Path, tmp_path: Path) -> None:
    seen: list[Event] = []
    once = dataclasses.replace(RUN, schedule=dataclasses.replace(RUN.schedule, epochs=1))
    distill = dataclasses.replace(settings(folder, kind="stored"), cache=str(tmp_path / "answers"))
    train(once, out=tmp_path / "a", method=Distill(distill), on_event=seen.append)
    assert [(e.done, e.total) for e in seen if isinstance(e, Loading) and "teacher" in e.data][-1] == (8, 8)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.glob("answers/*/*.safetensors")}
    assert len(files) == 8
    train(once, out=tmp_path / "b", method=Distill(distill))
    assert {path: path.stat().st_mtime_ns for path in files} == files


def test_an_answer_damaged_during_the_run_stops_it(folder: Path, tmp_path: Path) -> None:
    distill = dataclasses.replace(settings(folder, kind="stored"), cache=str(tmp_path / "answers"))

    def damage(event: Event) -> None:
        if isinstance(event, StepDone):
            for path in tmp_path.glob("answers/*/*.safetensors"):
                path.write_bytes(path.read_bytes()[:-2])

    with pytest.raises(ArtifactError, match=r"missing or truncated.*--resume: damaged files are created again"):
        train(RUN, out=tmp_path / "run", method=Distill(distill), on_event=damage)
    train(RUN, out=tmp_path / "run", method=Distill(distill), resume=True)


def test_what_cannot_teach_is_refused_before_the_run(folder: Path, tmp_path: Path) -> None:
    missing = DistillRecipe(teachers=("fast_scn",))
    with pytest.raises(UnknownName, match='Did you mean "fast_scnn"'):
        train(RUN, out=tmp_path / "a", method=Distill(missing))
    small_teacher(tmp_path / "two", classes=("dark", "light"))
    with pytest.raises(InputError, match="has the classes dark, light; the student has"):
        train(RUN, out=tmp_path / "b", method=Distill(DistillRecipe(teachers=(str(tmp_path / "two"),))))
    wrong = dataclasses.replace(
        settings(folder, kind="features"), features=(FeaturePair(student="fusoin", teacher="encoder.features.3"),)
    )
    with pytest.raises(UnknownName, match=r'Unknown module "fusoin"\. Did you mean "fusion"'):
        train(RUN, out=tmp_path / "c", method=Distill(wrong))
    assert not (tmp_path / "c").exists()


def test_a_copy_of_an_adapted_net_records_its_own_modules() -> None:
    net = Adapted(build("fast_scnn", classes=3, size=(64, 96)), names=["fusion"], inputs=[128], outputs=[5])
    other = copy.deepcopy(net)
    x = torch.randn(2, 3, 64, 96)
    net.train()(x)
    assert other.take() == []
    other.train()(x)
    assert [item.shape for item in (*net.take(), *other.take())] == [(2, 5, 8, 12)] * 2
    assert net.take() == []
    net.eval()(x)
    assert net.take() == []
    with tapped(net.student, ["fusion"]) as recorded:
        net(x)
    assert recorded["fusion"].shape == (2, 128, 8, 12)
    assert not net.student.get_submodule("fusion")._forward_hooks
