"""Whole runs: what they leave, how they end, and that they go on bit for bit."""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor
from train.small import metrics, recipe

from edgeseg.core.files import write_json
from edgeseg.errors import InputError, TrainingError
from edgeseg.models import load_checkpoint
from edgeseg.train import EpochDone, Event, Loading, Recipe, StepDone, TrainingResult, train
from edgeseg.train import loop as loop_module
from edgeseg.train.evaluate import Score, evaluate
from edgeseg.train.setup import memory_format
from edgeseg.train.start import start_net

if TYPE_CHECKING:
    from collections.abc import Iterator

WORKER = Path(__file__).with_name("worker.py")
# Accumulation and an odd number of batches an epoch: a step is two batches, and the last one is alone.
RESUMED = recipe(run={"accumulate": 2, "save_every_steps": 1}, data={"train": "streets:13"}, loss={"lovasz": 0.5})


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainingResult]:
    """One run from start to end."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("whole") / "run"
    return out, train(RESUMED, out=out, command="edgeseg train small")


def worker(given: Recipe, out: Path, *words: str) -> subprocess.CompletedProcess[str]:
    path = out.with_suffix(".json")
    write_json(given, path)
    return subprocess.run(
        [sys.executable, str(WORKER), str(path), str(out), *words], capture_output=True, text=True, check=False
    )


def tensors(value: object) -> list[Tensor]:
    """Return all tensors inside nested dicts and lists, in order."""
    if isinstance(value, Tensor):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [found for item in inner for found in tensors(item)]


def assert_same_end(out: Path, expected: Path) -> None:
    """Check that two runs ended with the same bits: weights, average, optimizer, position, metrics, checkpoint."""
    a, b = (torch.load(folder / "state.pt", weights_only=True) for folder in (out, expected))
    left, right = tensors(a), tensors(b)
    assert len(left) == len(right) > 100
    assert all(torch.equal(x, y) for x, y in zip(left, right, strict=True))
    assert {**a["progress"], "seconds": 0} == {**b["progress"], "seconds": 0}
    assert metrics(out) == metrics(expected)
    assert load_checkpoint(out / "checkpoint").spec == load_checkpoint(expected / "checkpoint").spec


def test_a_run_leaves_a_checkpoint_with_its_account(whole: tuple[Path, TrainingResult]) -> None:
    out, result = whole
    checkpoint = load_checkpoint(result.checkpoint)
    account = json.loads((result.checkpoint / "training.json").read_text(encoding="utf-8"))
    assert checkpoint.spec.size == (64, 96)
    assert checkpoint.spec.licence == "Apache-2.0"
    assert account["command"] == "edgeseg train small"
    assert account["seed"] == 3
    assert account["seconds"] == pytest.approx(result.seconds, abs=0.2)
    assert account["val"]["miou"] == result.miou
    seen = account["data"]["train"]
    assert len(seen.pop("sha256")) == 64
    assert seen == {"name": "streets", "split": "train", "images": 13, "licence": "Apache-2.0"}
    assert account["versions"]["torch"] == torch.__version__
    assert json.loads((out / "recipe.json").read_text(encoding="utf-8"))["name"] == "small"


def test_the_checkpoint_has_the_score_that_was_reported(whole: tuple[Path, TrainingResult]) -> None:
    from edgeseg.data import open_dataset

    checkpoint = load_checkpoint(whole[1].checkpoint)
    found = evaluate(checkpoint.net, open_dataset("streets:4", split="val"), spec=checkpoint.spec)
    assert found.miou == whole[1].miou
    assert found.images == 4


def test_a_killed_run_resumes_bit_for_bit(whole: tuple[Path, TrainingResult], tmp_path: Path) -> None:
    out = tmp_path / "run"
    killed = worker(RESUMED, out, "kill=3")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert torch.load(out / "state.pt", weights_only=True)["progress"]["step"] == 2
    train(RESUMED, out=out, resume=True)
    assert_same_end(out, whole[0])


def test_an_interrupt_between_steps_resumes_bit_for_bit(whole: tuple[Path, TrainingResult], tmp_path: Path) -> None:
    out = tmp_path / "run"
    ended = worker(RESUMED, out, "interrupt=3")
    assert (ended.returncode, ended.stdout.strip()) == (0, "interrupted"), ended.stderr
    assert torch.load(out / "state.pt", weights_only=True)["progress"]["step"] == 3
    train(RESUMED, out=out, resume=True)
    assert_same_end(out, whole[0])


def test_another_recipe_or_a_torn_state_is_not_resumed(whole: tuple[Path, TrainingResult], tmp_path: Path) -> None:
    other = dataclasses.replace(RESUMED, name="other")
    with pytest.raises(TrainingError, match="belongs to another recipe"):
        train(other, out=whole[0], resume=True)
    with pytest.raises(InputError, match=r"already holds a run\. Continue it with --resume"):
        train(RESUMED, out=whole[0])
    with pytest.raises(TrainingError, match=r"has no state\.pt to resume from"):
        train(RESUMED, out=tmp_path / "new", resume=True)
    torn = Path(shutil.copytree(whole[0], tmp_path / "torn")) / "state.pt"
    torn.write_bytes(torn.read_bytes()[: torn.stat().st_size // 2])
    with pytest.raises(TrainingError, match="cannot be read as a run's state"):
        train(RESUMED, out=torn.parent, resume=True)


def test_a_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match="was not made by edgeseg"):
        train(RESUMED, out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_events_tell_loading_steps_and_epochs(tmp_path: Path) -> None:
    seen: list[Event] = []
    one = recipe(schedule={"epochs": 1}, run={"tensorboard": True}, model={"name": "lraspp_mobilenet_v3_small"})
    train(one, out=tmp_path / "run", on_event=seen.append)
    assert [(e.done, e.total) for e in seen if isinstance(e, Loading)][-1] == (4, 4)
    assert [(e.step, e.steps) for e in seen if isinstance(e, StepDone)] == [(1, 3), (2, 3), (3, 3)]
    last = seen[-1]
    assert isinstance(last, EpochDone)
    assert last.miou == last.best_miou
    (file,) = (tmp_path / "run" / "tensorboard").iterdir()
    (line,) = metrics(tmp_path / "run")
    found = points_of(file)
    assert set(found) == {"train/loss", "train/rate", "val/miou", "val/pixel_accuracy"}
    for name, points in found.items():
        assert points == [(1, pytest.approx(line[name.partition("/")[2]], rel=1e-5))], name


def points_of(file: Path) -> dict[str, list[tuple[int, float]]]:
    """Return the (step, value) pairs of each scalar of an event file, as TensorBoard reads it."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(file)).Reload()
    return {tag: [(item.step, item.value) for item in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full is Linux's")
def test_points_that_find_no_room_are_an_error_of_the_run(tmp_path: Path) -> None:
    from tensorboard.summary.writer.record_writer import RecordWriter

    from edgeseg.train.event_file import EventFile

    written = EventFile(tmp_path, purge_step=1)
    written.close()
    written._records = RecordWriter(Path("/dev/full").open("wb"))  # noqa: SIM115 - closed below
    with pytest.raises(OSError, match="No space left on device"):
        written.scalar("train/loss", 1.0, 1)
    written.close()


def test_the_best_epoch_is_kept_not_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = iter((0.2, 0.6, 0.4))

    def scored(*_: object, **__: object) -> Score:
        return Score(miou=next(scores), pixel_accuracy=0.5, per_class_iou={}, images=1)

    monkeypatch.setattr(loop_module, "evaluate", scored)
    result = train(recipe(schedule={"epochs": 3}), out=tmp_path / "run")
    account = json.loads((result.checkpoint / "training.json").read_text(encoding="utf-8"))
    assert (result.miou, result.best_epoch, account["best_epoch"]) == (0.6, 2, 2)
    assert account["val"]["miou"] == 0.6


def test_a_loss_that_is_no_number_names_the_step(tmp_path: Path) -> None:
    wild = recipe(optimizer={"rate": 1e30}, schedule={"epochs": 2, "warmup_epochs": 0})
    with pytest.raises(TrainingError, match=r"Step \d \(epoch 1\): the loss is nan.*optimizer\.rate"):
        train(wild, out=tmp_path / "run")


def test_bfloat16_on_a_cpu_trains_in_contiguous_order(tmp_path: Path) -> None:
    given = recipe(run={"precision": "bf16"}, schedule={"epochs": 1})
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert memory_format(given, device=cpu) is torch.contiguous_format
    assert memory_format(given, device=gpu) is memory_format(recipe(), device=cpu) is torch.channels_last
    result = train(given, out=tmp_path / "run", accelerator="cpu")
    found = load_checkpoint(result.checkpoint).net.state_dict()
    assert all(bool(value.isfinite().all()) for value in found.values())
    assert found["classifier.3.weight"].dtype == torch.float32


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_short_memory_says_what_to_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*_: object) -> Tensor:
        raise error

    monkeypatch.setattr(loop_module.Loop, "_loss", fail)
    with pytest.raises(TrainingError, match=r"Step 1: out of memory with run.batch = 4 at 64x96. Halve run.batch"):
        train(recipe(), out=tmp_path / "run")


def test_start_weights_of_images_prepared_otherwise_are_not_used_unsaid(
    whole: tuple[Path, TrainingResult], caplog: pytest.LogCaptureFixture
) -> None:
    spec = load_checkpoint(whole[1].checkpoint).spec
    model = {"init": str(whole[1].checkpoint)}
    start_net(recipe(model=model), spec)
    assert not caplog.text
    start_net(recipe(model=model, preprocess={"color_order": "bgr", "std": [0.5, 0.5, 0.5]}), spec)
    assert 'trained on images with color_order = "rgb", std = [0.229, 0.224, 0.225]' in caplog.text


def test_a_run_starts_from_a_checkpoint(whole: tuple[Path, TrainingResult], tmp_path: Path) -> None:
    start = recipe(model={"init": str(whole[1].checkpoint)}, optimizer={"rate": 1e-9}, schedule={"epochs": 1})
    result = train(start, out=tmp_path / "run")
    given, found = (load_checkpoint(path).net.state_dict() for path in (whole[1].checkpoint, result.checkpoint))
    torch.testing.assert_close(found["classifier.3.weight"], given["classifier.3.weight"])
    other = recipe(model={"init": str(whole[1].checkpoint), "name": "lraspp_mobilenet_v3_small"})
    with pytest.raises(InputError, match="is a fast_scnn; the recipe trains lraspp_mobilenet_v3_small"):
        train(other, out=tmp_path / "other")
