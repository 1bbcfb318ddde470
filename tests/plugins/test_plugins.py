"""A package outside edgeseg adds one of each kind by its entry points alone, and each works from the command line.

The package lies in `their_package/`; it is copied beside a `.dist-info` onto the path of other processes, as pip would
leave it. It is also the example that CONTRIBUTING.md points to.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

HERE = Path(__file__).parent
PACKAGE = HERE / "their_package"
MOST_LINES = 120
WORKER = """
import json, sys
from edgeseg.cli.main import main
for words in json.loads(sys.argv[1]):
    print(json.dumps({"status": main(words)}), flush=True)
"""
NET, FACTORY = "their_net-test", "factory"
TO_PT2, TO_ONNX = ["--target", "pt2"], ["--target", "onnx"]
IMAGES = ["--calibration", "npz:data", "--data", "npz:data", "--out", "artifacts"]
FACTORY_MODEL = ["their_package.factory_net:build", "--weights", "factory.pth", "--spec", "spec.toml"]
PT2 = f"artifacts/{NET}-pt2"
COMMANDS = {
    "net fp32": ["convert", "start", *TO_PT2, *TO_ONNX, "--precision", "fp32", *IMAGES],
    "net int8": ["convert", "start", *TO_PT2, *TO_ONNX, "--precision", "int8", *IMAGES],
    "factory fp32": ["convert", *FACTORY_MODEL, *TO_ONNX, "--precision", "fp32", *IMAGES[:4], "--out", "factory-fp32"],
    "factory int8": ["convert", *FACTORY_MODEL, *TO_ONNX, "--precision", "int8", *IMAGES[:4], "--out", "factory-int8"],
    "verify": ["verify", f"{PT2}-fp32"],
    "bench": ["bench", f"{PT2}-fp32", "--runs", "3", "--warmup", "1", "--data", "npz:data"],
    "validate": ["validate", f"{PT2}-int8", "--data", "npz:data"],
    "run": [
        "run", f"{PT2}-fp32", "--source", "npy:clip.npy", "--sink", "counts:counts.csv", "--headless", "--threads", "1"
    ],
    "run over the clip": [
        "run", f"{PT2}-fp32", "--source", "npy:clip.npy", "--sink", "counts:clip.npy", "--force", "--headless"
    ],
    "compile": [
        "compile", f"artifacts/{NET}-onnx-int8", "--with", "ort-offline", "--option", "level=extended",
        "--out", "compiled",
    ],
    "verify compiled": ["verify", "compiled"],
    "dry run": ["compress", "recipe.toml", "--dry-run"],
    "compress": ["compress", "recipe.toml", "--out", "clipped"],
    "inspect": ["inspect", "clipped/checkpoint"],
    "models": ["models"],
    "cameras": ["cameras"],
    "doctor": ["doctor"],
    "stages": ["compress", "--stages"],
}  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the package as installed, and a checkpoint, weights, data, a clip and a recipe beside it."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(PACKAGE, folder / "their_package", ignore=shutil.ignore_patterns("__pycache__", "entry_points.txt"))
    info = folder / "their_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n", encoding="utf-8")
    shutil.copyfile(PACKAGE / "entry_points.txt", info / "entry_points.txt")
    done = python(folder, str(HERE / "make_inputs.py"))
    assert done.returncode == 0, done.stderr
    return folder


@dataclass(frozen=True)
class Answers:
    """What each command printed as JSON, its exit status, and what all said on stderr."""

    json: dict[str, dict[str, Any]]
    status: dict[str, int]
    said: str


@pytest.fixture(scope="module")
def answers(site: Path) -> Answers:
    """Run all commands in one process that finds the package: importing torch takes longer than most of them."""
    done = python(site, "-c", WORKER, json.dumps([[*words, "--json"] for words in COMMANDS.values()]))
    decoder, text, found, status = json.JSONDecoder(), done.stdout.strip(), {}, {}
    for name in COMMANDS:
        while name not in status:
            assert text, f"{name}: {done.stderr[-3000:]}"
            value, end = decoder.raw_decode(text)
            text = text[end:].strip()
            if value.keys() == {"status"}:
                status[name] = value["status"]
            else:
                found[name] = value
    return Answers(json=found, status=status, said=done.stderr)


def python(site: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        env={**os.environ, "PYTHONPATH": str(site)},
        cwd=site,
        capture_output=True,
        text=True,
        check=False,
    )


def test_each_kind_takes_one_short_file() -> None:
    files = sorted(PACKAGE.glob("*.py"))
    assert len(files) == 11
    for path in files:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES, path.name


def test_every_command_ends_as_it_should(answers: Answers) -> None:
    assert answers.status == {name: int(name == "run over the clip") for name in COMMANDS}, answers.said[-3000:]


@pytest.mark.parametrize("net", ["net", "factory"])
def test_both_nets_convert_in_float_and_int8(answers: Answers, net: str) -> None:
    for precision, least in (("fp32", 0.999), ("int8", 0.9)):
        made = answers.json[f"{net} {precision}"]["artifacts"]
        assert [item["format"] for item in made] == (["pt2", "onnx"] if net == "net" else ["onnx"])
        for item in made:
            assert item["parity"]["label_agreement"] > least
            engine = {"pt2": "torch", "onnx": "onnxruntime"}[item["format"]]
            assert item["proof"] == {"level": "engine", "engine": engine, "reason": ""}


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_batch_norms_of_attributes_are_folded(site: Path, answers: Answers, precision: str) -> None:
    assert answers.status[f"net {precision}"] == 0
    for form in ("pt2", "onnx"):
        manifest = json.loads((site / "artifacts" / f"{NET}-{form}-{precision}" / "manifest.json").read_text("utf-8"))
        ops = [item["op"].lower() for item in manifest["placements"]]
        assert sum("conv" in op for op in ops) == 5
        assert not [op for op in ops if "norm" in op]


def test_the_format_is_verified_timed_and_scored_by_its_engine(answers: Answers) -> None:
    verified, scored = answers.json["verify"], answers.json["validate"]
    (timed,) = answers.json["bench"]["measurements"]
    assert (verified["engine"], verified["input_matches"], verified["agreement"]) == ("torch", True, 1.0)
    assert (timed["format"], timed["engine"], timed["delegate"]) == ("pt2", "torch", "cpu")
    assert scored["engine"] == "torch"
    assert scored["miou"] > 0.7


def test_the_metric_is_measured_with_ours(answers: Answers) -> None:
    (timed,) = answers.json["bench"]["measurements"]
    for metrics in (timed["accuracy"]["metrics"], answers.json["validate"]["metrics"]):
        assert 0.7 < metrics["frequency_weighted_iou"]["value"] < 1


def test_the_camera_gives_every_frame_to_the_sink(site: Path, answers: Answers) -> None:
    shown = answers.json["run"]
    assert (shown["captured"], shown["delivered"], shown["fault"]) == (6, 6, None)
    head, *lines = (site / "counts.csv").read_text(encoding="utf-8").splitlines()
    assert head == "frame,dark,bright"
    assert [sum(map(int, line.split(",")[1:])) for line in lines] == [64 * 96] * 6


def test_a_sink_does_not_write_over_the_clip_that_the_camera_reads(site: Path, answers: Answers) -> None:
    assert "clip.npy: is an input of this run" in answers.said
    assert np.load(site / "clip.npy").shape == (6, 64, 96, 3)


def test_the_compiler_compiles_in_a_process_of_its_own(site: Path, answers: Answers) -> None:
    (compiled,) = answers.json["compile"]["artifacts"]
    assert compiled["proof"] == {"level": "engine", "engine": "onnxruntime", "reason": ""}
    assert compiled["report"]["ops_quantized"] > 0
    assert answers.json["verify compiled"]["agreement"] == 1.0
    source = next(item for item in answers.json["net int8"]["artifacts"] if item["format"] == "onnx")
    manifest = json.loads((site / "compiled" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["lineage"]["source_artifact"] == source["sha256"]


def test_the_stage_runs_from_a_recipe_to_the_lineage(answers: Answers) -> None:
    assert answers.json["dry run"]["stages"][0]["settings"] == {"deviations": 1.5, "images": 4}
    assert [item["stage"] for item in answers.json["compress"]["stages"]] == ["start", "clip"]
    (step,) = answers.json["inspect"]["lineage"]
    assert (step["stage"], step["settings"]["deviations"]) == ("clip", 1.5)


@pytest.mark.parametrize(
    ("verb", "name"),
    [("models", NET.partition("-")[0]), ("cameras", "npy"), ("doctor", "pt2"), ("doctor", "torch"), ("stages", "clip")],
)
def test_each_is_listed_where_ours_are(answers: Answers, verb: str, name: str) -> None:
    assert f'"{name}"' in json.dumps(answers.json[verb])


def test_the_contract_tests_hold_for_each(site: Path) -> None:
    # With no marker left out: this folder lies in long.txt, and so do the contracts.
    words = ["-m", "pytest", str(HERE / "their_contracts.py"), "-q", "-m", "", "-p", "no:cacheprovider", "-c"]
    done = python(site, *words, str(HERE.parents[1] / "pyproject.toml"))
    assert done.returncode == 0, done.stdout[-3000:]
