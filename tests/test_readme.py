"""The README's and the docs' commands exist, and their tables and figures are those of the stored measurements."""

from __future__ import annotations

import json
import re
import runpy
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgeseg.bench import read_measurements
from edgeseg.bench.compare import compare
from edgeseg.cli.main import parser

TOP = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "CONTRIBUTING.md", "docs/benchmarks.md", "docs/devices.md")
TEXTS = {name: (TOP / name).read_text(encoding="utf-8") for name in PAGES}
BENCHMARKS = TEXTS["docs/benchmarks.md"]
TABLES = SimpleNamespace(**runpy.run_path(str(TOP / "benchmarks" / "tables.py")))
RESULTS = TOP / "benchmarks"


def lines_of_code() -> list[str]:
    blocks = [block for text in TEXTS.values() for block in re.findall(r"```bash\n(.*?)```", text, flags=re.DOTALL)]
    return [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]


@pytest.mark.parametrize("command", [line for line in lines_of_code() if line.startswith("edgeseg ")])
def test_each_command_is_one_that_the_parser_takes(command: str) -> None:
    options, unknown = parser().parse_known_args(shlex.split(command)[1:])
    assert unknown == []
    assert callable(options.run)


def test_there_are_commands_to_test() -> None:
    assert len([line for line in lines_of_code() if line.startswith("edgeseg ")]) >= 10


@pytest.mark.parametrize(
    "script",
    [
        "scripts/demo",
        "scripts/test",
        "scripts/setup",
        "scripts/check",
        "benchmarks/camvid",
        "benchmarks/compression",
        "benchmarks/distillation",
        "benchmarks/loops",
    ],
)
def test_each_script_is_there_and_executable(script: str) -> None:
    assert (TOP / script).stat().st_mode & 0o111


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page: str) -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", TEXTS[page])
    assert [target for target in targets if not ((TOP / page).parent / target).exists()] == []


@pytest.mark.parametrize(
    ("page", "marker"), [(page, marker) for page, found in TABLES.tables().items() for marker in found]
)
def test_tables_are_those_of_the_stored_measurements(page: str, marker: str) -> None:
    shown = re.search(rf"<!-- {marker}:begin -->\n(.*?)<!-- {marker}:end -->", TEXTS[page], flags=re.DOTALL)
    assert shown is not None
    assert shown[1].strip() == TABLES.tables()[page][marker].strip()


# What each kind of compressed checkpoint loses at most (share of mIoU), and its inference's speed-up at least.
PROMISED = {"half": (0.01, 1.5), "int8": (0.003, 1.0), "relu": (0.01, 2.0)}


@pytest.mark.parametrize("family", TABLES.FAMILIES)
def test_compressed_nets_keep_what_is_promised(family: str) -> None:
    rows = TABLES.compressed(family).rows
    for row in rows:
        lost, speed_up = PROMISED.get(row.measurement.model.rsplit("-", 1)[-1], (1.0, 0.0))
        assert row.miou_change is not None
        assert row.miou_change >= -lost, row.label
        assert row.infer_speed_up is not None
        assert row.infer_speed_up >= speed_up, row.label
    light = [row for row in rows if (row.miou_change or 0.0) >= -0.01 and (row.infer_speed_up or 0.0) >= 3]
    assert len({row.measurement.engine for row in light}) >= 2


def test_each_precision_keeps_what_is_promised() -> None:
    rows = compare(read_measurements([RESULTS / "results"])).rows
    allowed = {"fp32": 0.001, "fp16": 0.001, "int8": 0.01}
    floats = {row.measurement.model: row.miou for row in rows if row.measurement.precision == "fp32"}
    for row in rows:
        best = floats[row.measurement.model]
        assert row.miou is not None
        assert best is not None
        assert best - row.miou <= allowed[row.measurement.precision], row.label
        if row.measurement.precision == "int8" and row.measurement.engine in ("litert", "openvino"):
            assert row.speed_up is not None
            assert row.speed_up > 1, row.label


@pytest.mark.parametrize("size", TABLES.SIZES)
def test_the_loop_keeps_up_with_the_engine(size: str) -> None:
    assert all(row["ratio"] >= 0.95 for row in TABLES.loop_rows("loop", size).values())
    assert all(row["ratio"] >= 1.5 for row in TABLES.loop_rows("plain_loop", size).values())


def test_the_soak_is_told_as_it_was_measured() -> None:
    soak = json.loads((RESULTS / "results" / "loop" / "soak.json").read_text(encoding="utf-8"))
    ratios, memory = soak["loop_over_engine_by_minute"], soak["memory_mb_by_tenth"]
    assert soak["minutes"] > 29.5
    assert len(ratios) == 30
    assert soak["last_over_first"]["loop_over_engine"] >= 0.95
    assert (soak["grows"]["threads"], soak["grows"]["files"], soak["grows"]["memory_mb"]) == (False, False, False)
    text = " ".join(BENCHMARKS.split())
    first, last, scatter = (f"{100 * value:.0f} %" for value in (ratios[0], ratios[-1], soak["spread"]["engine"]))
    assert memory[-1] - memory[2] < 0.1
    third, tenth = (f"{memory[part]:.2f} MB" for part in (2, -1))
    assert f"resident memory {third} in the third tenth of the run and {tenth} in the last" in text
    assert f"at {first} of the engine's own rate in the first minute and at {last} in the last" in text
    assert f"own rate scattered by {scatter}" in text


def test_what_a_teacher_adds_is_told_as_it_was_measured() -> None:
    runs = json.loads((RESULTS / "results-compression" / "distillation.json").read_text(encoding="utf-8"))
    points = {(run["kind"], run["seed"]): 100 * run["val"]["miou"] for run in runs}
    assert all(points["distill", seed] >= points["finetune", seed] + 1.0 for seed in (1, 2))
    taught, alone = (" and ".join(f"{points[kind, seed]:.2f} %" for seed in (1, 2)) for kind in ("distill", "finetune"))
    assert f"ends at {taught} (two seeds), labels alone at {alone}" in " ".join(BENCHMARKS.split())
