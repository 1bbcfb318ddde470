"""What a run says of its data: labels that teach nothing, other data at resume, unreadable files, faults."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from train.small import recipe

from edgeseg.data import identity, open_dataset
from edgeseg.data.label_check import LabelCounts
from edgeseg.errors import DatasetError, InputError, RecipeError, TrainingError
from edgeseg.train import Loading, Notice, Recipe, override, train
from edgeseg.train import loop as loop_module
from edgeseg.train.data import read_pair
from edgeseg.train.faults import out_of_memory_error, writing
from edgeseg.train.method import Method
from edgeseg.train.output import METRICS, RunFolder
from edgeseg.train.state import load_state


def folder_set(root: Path, *, count: int = 4, values: tuple[int, ...] = (0, 1), seed: int = 0) -> Path:
    """Write a data set of two classes whose labels hold `values`, in halves."""
    rng = np.random.default_rng(seed)
    for split in ("train", "val"):
        for room in ("images", "labels"):
            (root / room / split).mkdir(parents=True)
        for index in range(count):
            name = f"{index % 2}drive_{index}"
            labels = np.full((64, 96), values[0], np.uint8)
            labels[:, 48:] = values[-1]
            cv2.imwrite(str(root / "images" / split / f"{name}.png"), rng.integers(0, 256, (64, 96, 3), np.uint8))
            cv2.imwrite(str(root / "labels" / split / f"{name}.png"), labels)
    (root / "classes.txt").write_text("background\nperson\n", encoding="utf-8")
    return root


def on(root: Path, **tables: object) -> Recipe:
    data = {"train": str(root), "val": ""} | dict(tables.pop("data", {}))  # type: ignore[call-overload]
    return recipe(data=data, run={"batch": 2}, schedule={"epochs": 1, "warmup_epochs": 0.5}, **tables)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A finished run of one epoch and its data."""
    base = tmp_path_factory.mktemp("done")
    root = folder_set(base / "set")
    train(on(root), out=base / "run")
    return root, base / "run"


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ((0, 255), r"background is the only one of 2 classes that occurs; no pixel is person; 50\.0% .* 255, which is"),
        ((1, 1), "person is the only one of 2 classes"),
        ((255, 255), "every pixel of 4 label maps is 255, which is ignored"),
    ],
)
def test_labels_that_teach_nothing_are_refused(values: tuple[int, ...], says: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=says) as caught:
        train(on(folder_set(tmp_path / "set", values=values)), out=tmp_path / "run")
    assert "dataset.toml: [classes]" in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_binary_masks_train_once_they_are_mapped(tmp_path: Path) -> None:
    root = folder_set(tmp_path / "set", values=(0, 255))
    (root / "dataset.toml").write_text("schema = 1\n[classes]\nbackground = 0\nperson = 255\n", encoding="utf-8")
    counts = read_pair(on(root).data).training.counts
    assert counts.pixels.tolist() == [4 * 64 * 48, 4 * 64 * 48]
    assert counts.missing == ()


def test_an_ignored_index_among_the_classes_is_no_class_that_occurs() -> None:
    counts = LabelCounts(classes=("void", "road", "sky"), ignore_index=0)
    counts.add(np.array([[0, 0, 1]], np.uint8))
    assert (counts.pixels.tolist(), counts.ignored, counts.missing) == ([0, 1, 0], 2, ("void", "sky"))


def test_a_class_that_never_occurs_is_reported(tmp_path: Path) -> None:
    root = folder_set(tmp_path / "set")
    (root / "classes.txt").write_text("background\nperson\ncat\n", encoding="utf-8")
    seen: list[object] = []
    read_pair(on(root).data, on_event=seen.append)
    texts = [event.text for event in seen if isinstance(event, Notice)]
    assert len(texts) == 2
    assert "set train: no pixel is cat: 1 of 3 classes never occur" in texts[0]
    assert "set val: no pixel is cat" in texts[1]
    assert [event.done for event in seen if isinstance(event, Loading)] == [4, 4]


@pytest.mark.parametrize("where", ["recipe", "dataset.toml"])
def test_16_bits_are_read_in_the_range_that_is_stated(where: str, tmp_path: Path) -> None:
    root = folder_set(tmp_path / "set", count=1)
    for path in root.glob("images/*/*.png"):
        cv2.imwrite(str(path), np.full((64, 96), 1024, np.uint16))
    with pytest.raises(DatasetError, match=r"uint16 image with values from 1024 .*\[data\] range"):
        read_pair(on(root).data)
    if where == "dataset.toml":
        (root / where).write_text("schema = 1\n[data]\nrange = [0, 4095]\n", encoding="utf-8")
    read = read_pair(on(root, data={"range": (0, 4095)} if where == "recipe" else {}).data)
    assert read.validation is not None
    for checked in (read.training, read.validation):
        assert np.unique(checked.data.load(0).image).tolist() == [64]


def test_every_unreadable_file_is_named_or_left_out(tmp_path: Path) -> None:
    root = folder_set(tmp_path / "set", count=5)
    for name in ("0drive_0", "1drive_1"):
        path = root / "images" / "train" / f"{name}.png"
        path.write_bytes(path.read_bytes()[:70])
    cv2.imwrite(str(root / "labels" / "train" / "0drive_2.png"), np.full((64, 96), 9, np.uint8))
    with pytest.raises(DatasetError) as caught:
        read_pair(on(root).data)
    text = str(caught.value)
    assert all(name in text for name in ("0drive_0.png: truncated PNG", "1drive_1.png", "0drive_2.png: class index 9"))
    assert "3 of 5 samples of set train cannot be used" in text
    assert "--skip-broken" in text
    seen: list[object] = []
    read = read_pair(on(root).data, skip_broken=True, on_event=seen.append)
    assert (len(read.training.data), len(read.training.broken)) == (2, 3)
    notices = [event.text for event in seen if isinstance(event, Notice)]
    assert len([text for text in notices if text.startswith("left out: ")]) == 3
    assert "3 of 5 samples cannot be used and are left out" in notices[3]


def test_the_datas_own_ignored_index_is_the_only_one(tmp_path: Path) -> None:
    root = folder_set(tmp_path / "set")
    with pytest.raises(RecipeError, match=r"ignore_index = 200, but the data ignores 255: .* Remove the key"):
        train(on(root, augment={"ignore_index": 200}), out=tmp_path / "run")


def test_identity_is_content_not_a_name(tmp_path: Path) -> None:
    root = folder_set(tmp_path / "set")
    first = identity(open_dataset(str(root), split="train"))
    moved = identity(open_dataset(str(shutil.copytree(root, tmp_path / "other")), split="train"))
    assert (moved.sha256, moved.name) == (first.sha256, "other")
    assert first.difference(moved) == ""
    cv2.imwrite(str(root / "images" / "train" / "0drive_0.png"), np.zeros((64, 96, 3), np.uint8))
    changed = identity(open_dataset(str(root), split="train"))
    assert first.difference(changed) == "1 of 4 samples are changed, first 0drive_0"
    (root / "classes.txt").write_text("person\nbackground\n", encoding="utf-8")
    reordered = identity(open_dataset(str(root), split="train"))
    assert "class 0 was background and is person" in changed.difference(reordered)
    streets = [identity(open_dataset(f"streets:{count}", split="train")) for count in (3, 3, 4)]
    assert streets[0].sha256 == streets[1].sha256 != streets[2].sha256


def test_a_run_does_not_resume_on_other_data(
    done: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept"
    shutil.copytree(done[0], kept)
    try:
        image = done[0] / "images" / "train" / "0drive_0.png"
        cv2.imwrite(str(image), np.zeros((64, 96, 3), np.uint8))
        with pytest.raises(TrainingError, match=r"other train data .* 1 of 4 samples are changed, first 0drive_0\."):
            train(on(done[0]), out=done[1], resume=True)
        (done[0] / "classes.txt").write_text("person\nbackground\n", encoding="utf-8")
        with pytest.raises(TrainingError, match="class 0 was background and is person"):
            train(on(done[0]), out=done[1], resume=True)
    finally:
        shutil.rmtree(done[0])
        shutil.copytree(kept, done[0])
    assert train(on(done[0]), out=done[1], resume=True).epochs == 1


def test_every_flipped_bit_of_a_state_is_found(done: tuple[Path, Path], tmp_path: Path) -> None:
    whole = (done[1] / "state.pt").read_bytes()
    fingerprint = torch.load(done[1] / "state.pt", weights_only=True)["fingerprint"]
    load_state(done[1], fingerprint=fingerprint)
    rng = np.random.default_rng(0)
    places = [*rng.integers(0, len(whole), 40).tolist(), *range(len(whole) - 85, len(whole), 7)]
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        (tmp_path / "state.pt").write_bytes(damaged)
        with pytest.raises(TrainingError, match=r"state\.pt: (damaged|cannot be read)"):
            load_state(tmp_path, fingerprint=fingerprint)


def test_states_of_the_first_version_still_resume(done: tuple[Path, Path], tmp_path: Path) -> None:
    old = torch.load(done[1] / "state.pt", weights_only=True)
    fingerprint = old["fingerprint"]
    del old["data"]
    torch.save({**old, "version": 1}, tmp_path / "state.pt")
    assert load_state(tmp_path, fingerprint=fingerprint).data == {}


def test_a_single_value_in_batch_norm_names_the_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: object, batch: object) -> None:
        torch.nn.functional.batch_norm(torch.zeros(1, 3, 1, 1), torch.zeros(3), torch.ones(3), training=True)

    monkeypatch.setattr(loop_module.Loop, "_batch", fails)
    with pytest.raises(TrainingError, match=r"one value per channel.* Give run\.batch of 2 or more a process"):
        train(on(folder_set(tmp_path / "set")), out=tmp_path / "run")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("x"),
        RuntimeError("can't allocate memory: 9"),
        cv2.error("Insufficient memory"),
    ],
)
def test_memory_that_is_short_before_the_first_step(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def short(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("edgeseg.train.setup.read_pair", short)
    with pytest.raises(TrainingError, match=r"Out of memory before the first step: data\.cache = false"):
        train(recipe(), out=tmp_path / "run")


def test_a_batch_of_two_is_not_halved() -> None:
    from edgeseg.train.state import Position

    assert "Halve run.batch" in str(out_of_memory_error(recipe(run={"batch": 4}), progress=Position()))
    assert "Halve" not in str(out_of_memory_error(recipe(run={"batch": 2}), progress=Position()))


NO_ROOM = r"run: cannot be written: No space left on device.*--resume"


def run_folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run", recipe=recipe(), command="", method=Method())


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), RuntimeError("I/O error: No space left on device (os error 28)")]
)
def test_a_full_disk_is_one_line(error: Exception, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=NO_ROOM), writing(tmp_path / "run"):
        raise error
    with pytest.raises(TrainingError, match=r"cannot be written: Input/output error\."), writing(tmp_path):
        raise OSError(5, "Input/output error")
    with pytest.raises(RuntimeError, match="another fault"), writing(tmp_path):
        raise RuntimeError("another fault")


class SmallDisk:
    """A stream with room for so many bytes; what is written is dropped."""

    def __init__(self, room: int) -> None:
        self._room = room

    def write(self, content: bytes) -> int:
        self._room -= len(content)
        if self._room < 0:
            raise OSError(28, "No space left on device")
        return len(content)

    def flush(self) -> None:
        return None


# With the second one, PyTorch hides the system's error behind its own.
@pytest.mark.parametrize("room", [0, 1000])
def test_a_state_that_finds_no_room_says_so(room: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgeseg.train import state

    monkeypatch.setattr(state, "replacing", lambda *_, **__: contextlib.nullcontext(SmallDisk(room)))
    empty: dict[str, object] = {}
    weights = {"weight": torch.zeros(1 << 16)}
    found = state.RunState(
        progress=state.Position(), net=weights, average=weights, optimizer=empty, scaler=empty, fingerprint=""
    )
    with pytest.raises(TrainingError, match=NO_ROOM):
        run_folder(tmp_path).save(found)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full is Linux's")
def test_a_line_of_metrics_that_finds_no_room_says_so(tmp_path: Path) -> None:
    output = run_folder(tmp_path)
    output.folder.mkdir()
    (output.folder / METRICS).symlink_to("/dev/full")
    with pytest.raises(TrainingError, match=NO_ROOM):
        output.epoch(1, step=1, loss=1.0, rate=0.1, score=None, seconds=1.0)


def test_a_fold_holds_one_group_out(tmp_path: Path) -> None:
    root = folder_set(tmp_path / "set", count=6)
    read = read_pair(on(root, data={"fold": {"pattern": r"^(\d)drive", "name": "1"}}).data)
    held_out = [read.validation_data.item_id(index) for index in range(len(read.validation_data))]
    assert held_out == ["1drive_1", "1drive_3", "1drive_5"]
    assert [sample.id for sample in read.training.samples or ()] == ["0drive_0", "0drive_2", "0drive_4"]
    with pytest.raises(InputError, match='fold of set "2"'):
        read_pair(on(root, data={"fold": {"pattern": r"^(\d)drive", "name": "2"}}).data)


def test_other_data_take_neither_name_nor_notice_along() -> None:
    given = dataclasses.replace(recipe(data={"train": "camvid"}), licence="MIT", notice="CamVid")
    other = override(given, data="/data/nuclei")
    assert (other.name, other.licence, other.notice) == ("fast_scnn-nuclei", "", "")
    same = override(given, data="/elsewhere/camvid")
    assert (same.name, same.licence, same.notice) == (given.name, "MIT", "CamVid")


def test_two_runs_never_share_a_folder(tmp_path: Path) -> None:
    from edgeseg.core.atomic import lock

    with lock(tmp_path / "run"), pytest.raises(InputError, match=r"run: another process .* is writing it"):
        train(recipe(), out=tmp_path / "run")
