"""How the command line behaves whatever it is given: statuses, streams, names, and libraries that a device lacks."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from contracts import tiny_artifact as tiny

from edgeseg.cli import render
from edgeseg.cli.completion import SHELLS, script
from edgeseg.cli.main import VERBS, main, parser
from edgeseg.core.quantization import PRECISIONS

if TYPE_CHECKING:
    from pathlib import Path

ABSENT = """
import sys, importlib.machinery as machinery
absent = set(sys.argv[1].split(","))
real = machinery.PathFinder.find_spec.__func__
def find_spec(cls, name, path=None, target=None):
    return None if name.split(".")[0] in absent else real(cls, name, path, target)
machinery.PathFinder.find_spec = classmethod(find_spec)
from edgeseg.cli.main import main
sys.exit(main(sys.argv[2:]))
"""
TRAINING = ("torch", "onnx", "safetensors", "lightning_fabric", "onnxscript", "torchao", "matplotlib", "torch_pruning")


def run_without(modules: tuple[str, ...], arguments: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", ABSENT, ",".join(modules), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=cwd)


def shell(command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    line = command.replace("edgeseg ", f'"{sys.executable}" -m edgeseg ', 1)
    return subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=120, check=False, cwd=cwd)


@pytest.mark.parametrize(
    "arguments",
    [
        ["bench", "a", "--runs", "0"],
        ["bench", "a", "--runs", "many"],
        ["bench", "a", "--runs", "9" * 5000],
        ["bench", "a", "--threads", "100000"],
        ["verify", "a", "--threads", "-1"],
        ["convert", "--target", "onnx", "--size", "big"],
        ["convert", "--target", "onnx", "--size", "0x480"],
        ["convert", "--target", "onnx", "--precision", "int7"],
        ["predict", "a", "b.png", "--overlap", "2"],
        ["predict", "a", "b.png", "--overlap", "nan"],
        ["predict", "a", "b.png", "--tile", "64"],
        ["predict", "a", "b.png", "--tta", "flop"],
        ["calibrate", "--data", "streets", "--seed", "-1"],
        ["train", "x", "--seed", "1.5"],
        ["debug-quant", "--bound", "7"],
        ["debug-quant", "--below", "inf"],
        ["compile", "a", "--with", "vela", "--option", "foo"],
        ["run", "a", "--window", "--headless"],
        ["run", "a", "--token-file", "t"],
        ["run", "a", "--headless", "--web", "1:2:3"],
        ["run", "a", "--headless", "--roi", "1,2,3"],
        ["run", "a", "--headless", "--smooth", "expo:1"],
        ["run", "a", "--headless", "--fps", "0"],
        ["serve", "a", "--web", "1:2:3"],
        ["calibrate", "--data", "streets", "--split", "val"],
        ["calibrate", "--data", "streets", "--check", "--out", "r.json"],
        ["calibrate", "--data", "streets", "--temperature", "--check"],
        ["predict", "a"],
        ["predict", "a", "b.png", "--data", "streets"],
        ["bench", "a", "--device-name", " "],
        ["completion", "tcsh"],
        ["models", "-q", "-v"],
        ["convrt"],
        ["--jsn"],
    ],
)
def test_a_malformed_option_is_status_2_in_every_verb(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status: object = main(arguments)
    except SystemExit as stop:
        status = stop.code
    printed = capsys.readouterr()
    assert status == 2, printed.err
    assert printed.out == ""
    assert printed.err.strip().splitlines()[-1].startswith("edgeseg: ")


def test_without_a_verb_the_verbs_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    printed = capsys.readouterr().out
    assert all(verb in printed for verb in VERBS)


def test_it_runs_as_a_module(tmp_path: Path) -> None:
    assert shell("edgeseg --version", tmp_path).stdout.startswith("edgeseg ")


@pytest.mark.parametrize("command", ["edgeseg models >&-", "edgeseg models --json >&- 2>&-", "edgeseg compare x >&-"])
def test_a_closed_stdout_is_no_traceback(command: str, tmp_path: Path) -> None:
    done = shell(command, tmp_path)
    assert done.returncode in (0, 1)
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "completion"])
def test_a_device_without_torch_is_told_what_to_install(verb: str, tmp_path: Path) -> None:
    tiny.make_artifact(tmp_path / "a", file_format="onnx")
    arguments = {
        "convert": ["--target", "onnx"], "train": ["fast_scnn-camvid"], "compress": ["fast_scnn-streets-half"],
        "validate": ["fast_scnn", "--data", "streets:2"], "calibrate": ["--data", "streets:2"],
        "inspect": ["fast_scnn"], "verify": ["a"], "bench": ["a", "--runs", "1", "--warmup", "1"],
        "run": ["a", "--source", "synthetic", "--headless", "--frames", "1"], "compare": ["nowhere"],
        "predict": ["a", "nowhere.png"], "flicker": ["a", "--source", "nowhere.mp4"], "debug-quant": ["fast_scnn"],
    }.get(verb, [])  # fmt: skip
    done = run_without(TRAINING, [verb, *arguments], tmp_path)
    assert "Traceback" not in done.stderr, done.stderr
    lines = done.stderr.strip().splitlines()
    if verb in ("convert", "train", "validate", "calibrate", "debug-quant", "demo"):
        assert done.returncode == 1
        assert 'pip install "edgeseg[' in lines[-1]
    if verb in ("verify", "bench", "run", "targets", "cameras", "doctor"):
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("verb", ["verify", "bench", "run", "predict", "validate"])
def test_a_device_without_opencv_is_told_what_to_install(verb: str, tmp_path: Path) -> None:
    tiny.make_artifact(tmp_path / "a", file_format="onnx")
    (tmp_path / "b.png").write_bytes((tmp_path / "a" / "golden" / "image.png").read_bytes())
    arguments = {
        "run": ["a", "--source", "synthetic", "--headless", "--frames", "1"], "predict": ["a", "b.png"],
        "validate": ["a", "--data", "streets:2"],
    }.get(verb, ["a"])  # fmt: skip
    done = run_without(("cv2",), [verb, *arguments], tmp_path)
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stderr
    assert 'pip install "edgeseg[opencv]"' in done.stderr


def test_doctor_names_the_extra_of_a_missing_library_whole(tmp_path: Path) -> None:
    done = run_without(("cv2",), ["doctor"], tmp_path)
    assert "Traceback" not in done.stderr
    assert 'pip install "edgeseg[opencv]"' in done.stdout


def test_text_from_files_is_never_markup_nor_moves_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    render.table("[bold]t", ("name", "[/b]"), [("nuc [/b]", 'pip install "edgeseg[onnx]"'), ("a\x1b[31mb", ":smile:")])
    render.result("[red]plain[/red] \x07")
    render.say("[/nothing]")
    printed = capsys.readouterr()
    for text in (
        "[bold]t",
        "nuc [/b]",
        'pip install "edgeseg[onnx]"',
        "a\\x1b[31mb",
        ":smile:",
        "[red]plain[/red] \\x07",
    ):
        assert text in printed.out
    assert "\x1b" not in printed.out
    assert "[/nothing]" in printed.err


def test_quiet_leaves_results_and_errors_alone(tmp_path: Path) -> None:
    done = shell("edgeseg models -q", tmp_path)
    assert done.returncode == 0
    assert "fast_scnn" in done.stdout
    assert done.stderr == ""
    assert "nowhere" in shell("edgeseg compare nowhere -q", tmp_path).stderr


def test_quiet_leaves_out_notes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(render, "_quiet", False)
    render.say("a note")
    assert capsys.readouterr().err == "a note\n"
    assert main(["models", "-q"]) == 0
    render.say("a note")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", SHELLS)
def test_completion_knows_every_verb_and_option(name: str) -> None:
    text = script(name)
    for verb in VERBS:
        assert verb in text
    for option in ("baseline", "precision", "calibration", "headless"):
        assert option in text


def test_bash_completes(tmp_path: Path) -> None:
    (tmp_path / "edgeseg.bash").write_text(script("bash"), encoding="utf-8")
    code = (
        "source ./edgeseg.bash; COMP_WORDS=(edgeseg comp); COMP_CWORD=1; _edgeseg; echo ${COMPREPLY[@]}; "
        "COMP_WORDS=(edgeseg convert --precision ''); COMP_CWORD=3; _edgeseg; echo ${COMPREPLY[@]}"
    )
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path, timeout=30)
    assert done.stdout.splitlines() == ["compile compare compress completion", " ".join(("auto", *PRECISIONS))]


def test_memory_that_does_not_suffice_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_options: object) -> int:
        raise MemoryError

    monkeypatch.setattr("edgeseg.cli.models.run", fail)
    assert main(["models"]) == 1
    assert capsys.readouterr().err.startswith("edgeseg: out of memory.")


def test_every_verb_takes_json_quiet_and_verbose() -> None:
    for verb in VERBS:
        with pytest.raises(SystemExit):
            parser().parse_args([verb, "--json", "-q", "-v"])


def test_records_written_by_bench_say_where_their_data_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny.make_artifact(tmp_path / "a", file_format="onnx")
    for device in ("pi5", "jetson"):
        bench = ["bench", str(tmp_path / "a"), "--runs", "2", "--warmup", "1", "--device-name", device]
        assert main([*bench, "--threads", "1", "--out", str(tmp_path / "same"), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["measurements"][0]["device"]["name"] == device
    assert len(list((tmp_path / "same").iterdir())) == 2
    assert main(["compare", str(tmp_path / "same"), "--json"]) == 0
    compared = json.loads(capsys.readouterr().out)
    assert [best["device"] for best in compared["best"]] == ["jetson", "pi5"]
    assert main(["compare", str(tmp_path / "same"), "--gate", "size_mb<=0", "--json"]) == 3
    assert not json.loads(capsys.readouterr().out)["gates"][0]["passed"]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with an artifact, an image, and a val split in which two of the four classes occur."""
    import cv2
    import numpy as np

    root = tmp_path_factory.mktemp("small")
    tiny.make_artifact(root / "a", file_format="onnx")
    for part in ("images", "labels"):
        (root / "data" / part / "val").mkdir(parents=True)
    (root / "data" / "classes.txt").write_text("\n".join(tiny.CLASSES) + "\n")
    labels = np.zeros(tiny.SIZE, np.uint8)
    labels[:9] = 1
    cv2.imwrite(str(root / "data/images/val/i.png"), tiny.image())
    cv2.imwrite(str(root / "data/labels/val/i.png"), labels)
    return root


@pytest.mark.parametrize(
    "arguments",
    [
        ["targets"], ["models"], ["validate", "a", "--data", "data"],
        ["predict", "a", "data/images/val/i.png", "--out", "p"],
        ["run", "a", "--source", "synthetic:1", "--headless", "--frames", "1"],
        ["train", "fast_scnn-camvid", "--dry-run"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_every_json_begins_with_its_schema(
    arguments: list[str], small: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(small)
    assert main([*arguments, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert next(iter(found)) == "schema"
    assert found["schema"] >= 1


def test_train_prints_its_plan_as_the_other_verbs_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "fast_scnn-camvid", "--dry-run", "--epochs", "7"]) == 0
    printed = capsys.readouterr().out
    assert not printed.lstrip().startswith("{")
    assert "schedule.epochs" in printed
    assert "fast_scnn at " in printed


def test_bench_says_that_classes_never_occur_and_refuses_a_single_one(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import cv2
    import numpy as np

    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(small)
    bench = ["bench", "a", "--runs", "1", "--warmup", "1", "--data"]
    assert main([*bench, "data"]) == 0
    assert "no pixel is road or tree: 2 of 4 classes never occur" in capsys.readouterr().err
    shutil.copytree("data", tmp_path / "one")
    cv2.imwrite(str(tmp_path / "one/labels/val/i.png"), np.where(np.eye(*tiny.SIZE), 255, 0).astype(np.uint8))
    monkeypatch.setattr("edgeseg.verbs.bench.bench_interleaved", None)  # refused before anything is timed
    assert main([*bench, str(tmp_path / "one")]) == 1
    assert "map them in dataset.toml: [classes]" in capsys.readouterr().err
