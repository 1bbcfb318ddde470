"""Whatever ends a verb, wherever: what was finished stays, nothing partial passes for whole, and a second try succeeds.

The faults are signals at a write, and a disk that is full from a write on. The fast part takes the middle write of the
verbs that run on a device; the whole matrix, marked slow, takes the first, middle and last write of all seven, and
stops them for a minute.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import pytest
from contracts import tiny_artifact as tiny

from edgeseg.core.artifact import open_artifact
from edgeseg.core.files import read_json, read_json_value
from edgeseg.core.quantization import Ranges

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks and signals are POSIX")

WORKER = Path(__file__).with_name("faults_worker.py")
FAULTS = ("SIGTERM", "SIGHUP", "SIGINT", "SIGKILL", "SIGSTOP", "full")
PLACES = ("first", "middle", "last")
MINUTE_S = 60.0
DEVICE = ("run", "predict", "bench")
TORCH = ("calibrate", "convert", "train", "compress")
TRAIN = """
schema = 1
name = "small"
model = { name = "fast_scnn", size = [64, 96] }
data = { train = "streets:8", val = "streets:2" }
loss = { stride = 3 }
schedule = { epochs = 2, warmup_epochs = 0 }
run = { batch = 4, tensorboard = false, save_every_steps = 1 }
"""
COMPRESS = """
schema = 1
name = "small"
model = "fast_scnn:streets-half"
size = [64, 96]
[data]
train = "streets:8"
val = "streets:2"
[calibration]
count = 2
[[stages]]
kind = "prune"
macs = 0.8
images = 4
[[stages]]
kind = "finetune"
schedule = { epochs = 1, warmup_epochs = 0 }
run = { batch = 4, tensorboard = false, save_every_steps = 1 }
loss = { stride = 3 }
"""


class Worker:
    """A process that has imported the libraries once and forks for each case."""

    def __init__(self, *modules: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(WORKER), *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
        )

    def run(self, words: list[str], *, cwd: Path, fault: str = "none", at: int = 0) -> dict[str, Any]:
        """Return how a verb ended whose `at`-th write met the fault."""
        return self.run_all([request(words, cwd=cwd, fault=fault, at=at)])[0]

    def run_all(self, requests: list[dict[str, object]]) -> list[dict[str, Any]]:
        """Return how each verb ended; they run side by side."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(requests) + "\n")
        self._process.stdin.flush()
        found: list[dict[str, Any]] = json.loads(self._process.stdout.readline())
        return found

    def close(self) -> None:
        """End the process."""
        self._process.communicate(timeout=60)


def request(words: list[str], *, cwd: Path, fault: str = "none", at: int = 0, hold_s: float = 1.0) -> dict[str, object]:
    """Return a request to a worker: a verb, and the fault at its `at`-th write; a SIGSTOP lasts `hold_s`."""
    return {"words": words, "cwd": str(cwd), "fault": fault, "at": at, "hold_s": hold_s}


@dataclass(frozen=True, kw_only=True)
class Verb:
    """A verb: its words, what its second try adds, and `check`: what is finished; it fails on anything torn."""

    words: list[str]
    again: Callable[[Path], list[str]]
    check: Callable[[Path], set[str]]
    steps: dict[str, list[str]] = field(default_factory=dict)


def images(folder: Path) -> set[str]:
    """Return the images below a folder; each decodes whole."""
    found = [path for path in folder.rglob("*.png") if not path.name.startswith(".")]
    assert all(cv2.imread(str(path), cv2.IMREAD_UNCHANGED) is not None for path in found)
    return {path.name for path in found}


def predicted(cwd: Path) -> set[str]:
    summary = cwd / "out" / "predictions.json"
    if summary.exists():
        read_json_value(summary)
    return images(cwd / "out" / "labels")


def measured(cwd: Path) -> set[str]:
    from edgeseg.bench import read_measurement

    found = [path for path in cwd.glob("out/*") if not path.name.startswith(".")]
    return {read_measurement(path).artifact for path in found}


def calibrated(cwd: Path) -> set[str]:
    path = cwd / "out.json"
    return {str(len(read_json(Ranges, path).ranges))} if path.exists() else set()


def converted(cwd: Path) -> set[str]:
    return {open_artifact(cwd / "out").manifest.name} if (cwd / "out").exists() else set()


def trained(cwd: Path) -> set[str]:
    from edgeseg.models import load_checkpoint

    found = {path.parent for path in cwd.glob("out/**/spec.json") if not any(p.startswith(".") for p in path.parts)}
    for folder in found:
        load_checkpoint(folder)
    return {str(folder.relative_to(cwd)) for folder in found}


def resumed(cwd: Path) -> list[str]:
    return ["--resume"] if any(cwd.glob("out/state.pt")) else []


def verbs(root: Path) -> dict[str, Verb]:
    """Write the inputs and return the seven verbs."""
    artifact = str(tiny.make_artifact(root / "artifact", file_format="onnx").folder)
    (root / "in").mkdir()
    for number in range(4):
        cv2.imwrite(str(root / "in" / f"{number}.png"), tiny.image(seed=number))
    (root / "train.toml").write_text(TRAIN, encoding="utf-8")
    (root / "compress.toml").write_text(COMPRESS, encoding="utf-8")
    half = "fast_scnn:streets-half"
    run = ["run", artifact, "--source", "synthetic:1", "--headless", "--frames", "4", "--threads", "1"]
    bench = ["bench", artifact, "--runs", "2", "--warmup", "1", "--out", "out"]
    calibrate = ["calibrate", half, "--data", "streets:2", "--count", "2", "--out", "out.json"]
    convert = ["convert", half, "--target", "onnx", "--precision", "fp32", "--size", "64x96", "--out", "out"]
    return {
        "run": Verb(
            words=[*run, "--save-labels", "out"], again=lambda _: ["--force"], check=lambda cwd: images(cwd / "out")
        ),
        "predict": Verb(
            words=["predict", artifact, str(root / "in"), "--out", "out"], again=lambda _: ["--resume"], check=predicted
        ),
        "bench": Verb(words=bench, again=lambda _: [], check=measured),
        "calibrate": Verb(words=calibrate, again=lambda _: [], check=calibrated),
        "convert": Verb(words=convert, again=lambda _: [], check=converted),
        "train": Verb(words=["train", str(root / "train.toml"), "--out", "out"], again=resumed, check=trained),
        "compress": Verb(
            words=["compress", str(root / "compress.toml"), "--out", "out"], again=lambda _: ["--resume"], check=trained
        ),
    }


@dataclass(frozen=True, kw_only=True)
class Setting:
    """The worker, the verbs, and what each leaves when nothing goes wrong."""

    worker: Worker
    verbs: dict[str, Verb]
    root: Path
    whole: dict[str, tuple[list[str], set[str]]] = field(default_factory=dict)

    def clean(self, name: str) -> tuple[list[str], set[str]]:
        """Return the writes of a verb to which nothing happens, and what it leaves."""
        if name not in self.whole:
            cwd = self.root / f"clean-{name}"
            cwd.mkdir()
            done = self.worker.run(self.verbs[name].words, cwd=cwd)
            assert done["status"] == 0, done["err"]
            self.whole[name] = (done["steps"], self.verbs[name].check(cwd))
            assert self.whole[name][1]
        return self.whole[name]


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setting]:
    pytest.importorskip("onnxruntime")
    root = tmp_path_factory.mktemp("faults")
    bench = Setting(worker=Worker("cv2", "onnxruntime", "edgeseg.runtime"), verbs=verbs(root), root=root)
    yield bench
    bench.worker.close()


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setting]:
    pytest.importorskip("torch")
    root = tmp_path_factory.mktemp("faults")
    modules = ("torch", "edgeseg.train.run", "edgeseg.export.export", "edgeseg.compress.pipeline.run")
    bench = Setting(worker=Worker(*modules), verbs=verbs(root), root=root)
    yield bench
    bench.worker.close()


def hold(bench: Setting, name: str, fault: str, at: int, cwd: Path) -> dict[str, Any]:
    """Let a fault meet a verb's `at`-th write; check what is left, and that the second try leaves the whole."""
    verb = bench.verbs[name]
    _, whole = bench.clean(name)
    done = bench.worker.run(verb.words, cwd=cwd, fault=fault, at=at)
    lines = done["err"].strip().splitlines()
    assert "Traceback" not in done["err"], done["err"]
    if fault == "SIGSTOP":
        assert (done["status"], done["stopped"]) == (0, 1), done["err"]
    elif fault == "SIGKILL":
        assert done["status"] == -9
    elif fault == "full" and done["status"] == 0:
        # The note that an artifact was made here, the last write of `convert`, is not needed.
        assert (name, verb.check(cwd)) == ("convert", whole)
    elif fault == "full":
        assert done["status"] == 1, done["err"]
        assert "No space left on device" in lines[-1]
    else:
        # What was complete at the signal may be kept and reported: `run` then ends with status 0.
        assert done["status"] == 130 or (name == "run" and done["status"] == 0), done["err"]
    finished = verb.check(cwd)
    assert finished <= whole
    if fault != "SIGSTOP":
        for partial in cwd.rglob(".*.partial"):
            os.utime(partial, (0, 0))
        second = bench.worker.run([*verb.words, *verb.again(cwd)], cwd=cwd)
        assert second["status"] == 0, second["err"]
    assert verb.check(cwd) == whole
    assert [path.name for path in cwd.rglob(".*.partial")] == []
    return done


def middle(bench: Setting, name: str) -> int:
    return max(1, (len(bench.clean(name)[0]) + 1) // 2)


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        *(("run", fault) for fault in FAULTS),
        ("predict", "SIGKILL"),
        ("predict", "full"),
        ("bench", "SIGTERM"),
        ("bench", "SIGKILL"),
    ],
)
def test_a_fault_at_the_middle_write_loses_nothing_on_a_device(
    name: str, fault: str, device: Setting, tmp_path: Path
) -> None:
    hold(device, name, fault, middle(device, name), tmp_path)


def test_predict_killed_at_its_first_write_can_be_resumed(device: Setting, tmp_path: Path) -> None:
    hold(device, "predict", "SIGKILL", 1, tmp_path)


@pytest.mark.parametrize("fault", ["SIGTERM", pytest.param("full", marks=pytest.mark.slow)])
def test_a_fault_at_the_middle_write_loses_no_training(fault: str, desk: Setting, tmp_path: Path) -> None:
    hold(desk, "train", fault, middle(desk, "train"), tmp_path)


def write_at(bench: Setting, name: str, place: str) -> int:
    """Return the number of a verb's first, middle or last write."""
    return {"first": 1, "middle": middle(bench, name), "last": len(bench.clean(name)[0])}[place]


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_all_verbs_go_on_after_a_stop_of_a_minute(place: str, desk: Setting, tmp_path: Path) -> None:
    asked, names = [], [*DEVICE, *TORCH]
    for name in names:
        (tmp_path / name).mkdir()
        at = write_at(desk, name, place)
        words = desk.verbs[name].words
        asked.append(request(words, cwd=tmp_path / name, fault="SIGSTOP", at=at, hold_s=MINUTE_S))
    for name, done in zip(names, desk.worker.run_all(asked), strict=True):
        assert (name, done["status"], done["stopped"]) == (name, 0, 1), done["err"]
        assert desk.verbs[name].check(tmp_path / name) == desk.clean(name)[1]
        assert list((tmp_path / name).rglob(".*.partial")) == []


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault != "SIGSTOP"])
@pytest.mark.parametrize("name", [*DEVICE, *TORCH])
def test_the_whole_matrix_of_verbs_and_faults(name: str, fault: str, place: str, desk: Setting, tmp_path: Path) -> None:
    at = write_at(desk, name, place)
    if fault == "full" and place == "last":
        at = max(i for i, step in enumerate(desk.clean(name)[0], 1) if step in ("write file", "fill folder"))
    done = hold(desk, name, fault, at, tmp_path)
    if fault in ("SIGTERM", "SIGHUP", "SIGINT"):
        print(f"{name}: ended {done['seconds_after_last_step']:.2f} s after the {fault}")
        assert done["seconds_after_last_step"] < 5


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounting a small disk takes root")
@pytest.mark.parametrize("name", [*DEVICE, *(pytest.param(name, marks=pytest.mark.slow) for name in TORCH)])
def test_a_disk_that_is_really_full_is_one_line_and_room_mends_it(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    bench: Setting = request.getfixturevalue("device" if name in DEVICE else "desk")
    verb, (_, whole) = bench.verbs[name], bench.clean(name)
    cwd = tmp_path / "disk"
    cwd.mkdir()
    small = "-osize=8k,nr_inodes=40" if name in (*DEVICE, "calibrate") else "-osize=300k,nr_inodes=200"
    if subprocess.run(["mount", "-t", "tmpfs", small, "tmpfs", str(cwd)], check=False, capture_output=True).returncode:
        pytest.skip("this system forbids mounts")
    try:
        if name in DEVICE:  # a measurement fits into one page; of the label maps one fits, and another does not
            (cwd / "filler").write_bytes(b"x" * (8192 if name == "bench" else 4096))
        done = bench.worker.run(verb.words, cwd=cwd)
        assert done["status"] == 1, (done["err"], list(cwd.rglob("*")))
        assert "Traceback" not in done["err"]
        assert re.search("No space left on device|disk is full", done["err"].strip().splitlines()[-1])
        assert verb.check(cwd) < whole
        subprocess.run(["mount", "-o", "remount,size=200m", str(cwd)], check=True)
        second = bench.worker.run([*verb.words, *verb.again(cwd)], cwd=cwd)
        assert second["status"] == 0, second["err"]
        assert verb.check(cwd) == whole
    finally:
        subprocess.run(["umount", "-l", str(cwd)], check=True)
