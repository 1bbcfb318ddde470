"""The command line as a person meets it: help, typos, pipes, exit statuses."""

from __future__ import annotations

import builtins
import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from edgeseg.cli.main import VERBS, main

if TYPE_CHECKING:
    from pathlib import Path

BLOCKER = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {blocked!r}:
            raise ImportError(name + ' is blocked')
sys.meta_path.insert(0, Block())
{code}
"""


def run_blocked(code: str, *blocked: str) -> subprocess.CompletedProcess[str]:
    script = BLOCKER.format(blocked=set(blocked), code=code)
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)


def test_help_needs_nothing_heavy() -> None:
    code = "from edgeseg.cli.main import main\nmain(['--help'])"
    done = run_blocked(code, "torch", "onnx", "tensorflow", "cv2", "rich", "numpy")
    assert done.returncode == 0, done.stderr
    for verb in VERBS:
        assert verb in done.stdout


def test_the_device_side_needs_neither_torch_nor_onnx_nor_tensorflow() -> None:
    code = (
        "import edgeseg.runtime, edgeseg.bench, edgeseg.data, edgeseg.pixels\n"
        "print(sorted({name.split('.')[0] for name in sys.modules} & {'torch', 'onnx', 'tensorflow', 'rich'}))"
    )
    done = run_blocked(code, "torch", "onnx", "tensorflow", "rich", "matplotlib", "scipy")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([verb, "--help"])
    assert stop.value.code == 0
    assert "--json" in capsys.readouterr().out


def test_a_misspelt_verb_or_option_is_usage_with_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["convrt"])
    assert stop.value.code == 2
    assert 'Did you mean "convert"?' in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        main(["models", "--jsn"])
    assert stop.value.code == 2
    assert 'Did you mean "--json"?' in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["convert", "fast_snn", "--target", "tflite"], 'Did you mean "fast_scnn'),
        (["convert", "--target", "tflight"], 'Did you mean "tflite"?'),
        (["convert", "--target", "tflite", "--size", "100x100"], "multiples of 32"),
        (["verify", "nowhere"], "nowhere: no such folder"),
        (["verify", "."], "no manifest.json"),
        (["run", "nowhere", "--headless"], "nowhere: no such folder"),
        (["validate", "fast_snn", "--data", "streets:2"], 'Did you mean "fast_scnn'),
        (["validate", "fast_scnn", "--data", "nowhere"], "nowhere"),
        (["compare", "nowhere.json"], "nowhere.json: no such file"),
        (["train", "no-such-recipe"], 'Unknown recipe "no-such-recipe"'),
        (["compress", "no-such-recipe"], 'Unknown compression recipe "no-such-recipe"'),
        (["inspect", "fast_snn"], 'Did you mean "fast_scnn'),
        (["debug-quant", "nowhere/checkpoint"], "nowhere/checkpoint: no such checkpoint"),
        (["targets", "rasberry-pi-5"], 'Did you mean "raspberry-pi-5"?'),
    ],
)
def test_bad_input_ends_with_one_line_and_status_1(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.strip().splitlines()) == 1
    assert message in printed.err


def test_json_is_one_object_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--json"]) == 0
    listing = json.loads(capsys.readouterr().out)
    assert {item["name"] for item in listing["architectures"]} >= {"fast_scnn", "lraspp_mobilenet_v3_small"}
    assert main(["targets", "--json"]) == 0
    assert "tflite" in json.loads(capsys.readouterr().out)["formats"]


def test_a_reader_that_goes_away_is_no_traceback(tmp_path: Path) -> None:
    command = f'"{sys.executable}" -m edgeseg.cli models | head -c 1'
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path
    )
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


@pytest.mark.parametrize("fault", [ImportError("libGL.so.1"), OSError("broken"), AttributeError("dtype")])
def test_doctor_survives_an_opencv_that_does_not_import(
    fault: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = builtins.__import__

    def broken(name: str, *rest: object, **more: object) -> object:
        if name == "cv2":
            raise fault
        return real(name, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", broken)
    assert main(["doctor", "--json"]) == 1
    findings = json.loads(capsys.readouterr().out)["findings"]
    (found,) = [item for item in findings if item["name"] == "OpenCV"]
    assert not found["works"]
    assert str(fault) in found["detail"]
    assert not [item for item in findings if item["name"] == "window"]


def test_doctor_names_what_mends_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["doctor", "--json"])
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert {"base", "convert", "run", "train"} <= {finding["area"] for finding in findings}
    assert status == (0 if any(finding["area"] == "run" and finding["works"] for finding in findings) else 1)
    for finding in findings:
        if not finding["works"] and finding["name"] not in ("GPU",):
            assert finding["detail"]
