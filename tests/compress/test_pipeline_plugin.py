"""Another package's stage: found by its entry point, and as good in a recipe as ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from compress.small_teacher import small_teacher

from edgeseg.data import open_dataset

if TYPE_CHECKING:
    from pathlib import Path

STAGE = '''
"""Weights rounded to a few bits of mantissa."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from edgeseg.compress.pipeline.change_stage import Changed, ChangeStage, ImageSample


@dataclass(frozen=True, kw_only=True)
class RoundSettings(ImageSample):
    mantissa_bits: int = 7


@dataclass(frozen=True, kw_only=True)
class RoundStage(ChangeStage):
    name: ClassVar[str] = "round-weights"
    does: ClassVar[str] = "round weights to few bits"

    settings: RoundSettings

    def change(self, checkpoint, *, data, job):
        step = 2.0**self.settings.mantissa_bits
        with torch.no_grad():
            for weight in checkpoint.net.parameters():
                mantissa, exponent = torch.frexp(weight)
                weight.copy_(torch.ldexp((mantissa * step).round() / step, exponent))
        return Changed(net=checkpoint.net, spec=checkpoint.spec, account={})
'''
ENTRY_POINTS = """
[edgeseg.stages]
round-weights = other_package:RoundStage
no-stage = json:dumps
broken = not_installed_anywhere:Stage
"""
WORKER = """
import json, sys
from edgeseg.cli.main import main
for words in json.loads(sys.argv[1]):
    print(main(words), flush=True)
"""
RECIPE = """
schema = 1
name = "rounded"
model = "START"
[data]
train = "streets:4"
[calibration]
count = 2
[[stages]]
kind = "round-weights"
mantissa_bits = 3
images = 2
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder as another package's installation leaves it, with a checkpoint and a recipe beside."""
    folder = tmp_path_factory.mktemp("site")
    info = folder / "other_package-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other-package\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(ENTRY_POINTS, encoding="utf-8")
    (folder / "other_package.py").write_text(STAGE, encoding="utf-8")
    start = small_teacher(folder / "start", classes=open_dataset("streets:4", split="train").classes, name="fast_scnn")
    (folder / "r.toml").write_text(RECIPE.replace("START", str(start)), encoding="utf-8")
    return folder


def run(site: Path, *commands: list[str]) -> subprocess.CompletedProcess[str]:
    """Run `edgeseg` commands in one process that finds the other package on its path."""
    return subprocess.run(
        [sys.executable, "-c", WORKER, json.dumps(commands)],
        env={**os.environ, "PYTHONPATH": str(site)},
        cwd=site,
        capture_output=True,
        text=True,
        check=False,
    )


def test_another_packages_stage_works_from_dry_run_to_lineage(site: Path) -> None:
    assert len(STAGE.strip().splitlines()) <= 60
    done = run(
        site,
        ["compress", "r.toml", "--dry-run", "--json"],
        ["compress", "r.toml", "--out", "run", "--json"],
        ["compress", "r.toml", "--out", "run", "--resume", "--json"],
        ["inspect", "run/checkpoint", "--json"],
    )
    assert done.returncode == 0, done.stderr
    decoder, text, found = json.JSONDecoder(), done.stdout, []
    while text := text.strip():
        value, end = decoder.raw_decode(text)
        found.append(value)
        text = text[end:]
    plan, first, again, inspected = found[::2]
    assert found[1::2] == [0, 0, 0, 0]
    assert plan["stages"][0]["settings"] == {"mantissa_bits": 3, "images": 2}
    assert plan["stages"][0]["does"] == "round weights to few bits"
    assert [item["stage"] for item in first["stages"]] == ["start", "round-weights"]
    assert again == first
    (step,) = inspected["lineage"]
    assert (step["stage"], step["settings"]["mantissa_bits"], step["seed"]) == ("round-weights", 3, 0)


def test_a_misspelt_or_broken_stage_is_named_with_file_line_and_reason(site: Path) -> None:
    expected = {
        "round-weight": 'Unknown stage "round-weight". Did you mean "round-weights"?',
        "broken": "Stage \"broken\" cannot be loaded: ModuleNotFoundError: No module named 'not_installed_anywhere'",
        "no-stage": 'stage "no-stage" cannot be used: its entry point is not a subclass of',
    }
    text = (site / "r.toml").read_text(encoding="utf-8")
    for kind in expected:
        (site / f"{kind}.toml").write_text(text.replace('"round-weights"', f'"{kind}"'), encoding="utf-8")
    done = run(site, *(["compress", f"{kind}.toml", "--dry-run"] for kind in expected))
    for kind, words in expected.items():
        assert f"edgeseg: {kind}.toml:10: stages[0].kind: {words}" in done.stderr


def test_stages_are_listed_and_a_broken_one_breaks_no_other(site: Path) -> None:
    done = run(site, ["compress", "--stages", "--json"])
    listed = {item["name"]: item for item in json.loads(done.stdout[: done.stdout.rindex("}") + 1])["stages"]}
    assert listed["round-weights"]["does"] == "round weights to few bits"
    assert "not_installed_anywhere" in listed["broken"]["fault"]
    assert listed["prune"]["fault"] == ""
