"""The README's commands exist, and its table is the one that the stored measurements give."""

from __future__ import annotations

import json
import re
import runpy
import shlex
from pathlib import Path

import pytest

from edgeseg.bench import read_measurements
from edgeseg.bench.compare import compare
from edgeseg.cli.compare import markdown
from edgeseg.cli.main import parser

TOP = Path(__file__).resolve().parents[1]
README = (TOP / "README.md").read_text(encoding="utf-8")


def commands() -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", README, flags=re.DOTALL)
    lines = [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("edgeseg ")]


@pytest.mark.parametrize("command", commands())
def test_each_command_is_one_that_the_parser_takes(command: str) -> None:
    options, unknown = parser().parse_known_args(shlex.split(command)[1:])
    assert unknown == []
    assert callable(options.run)


def test_there_are_commands_to_test() -> None:
    assert len(commands()) >= 10


@pytest.mark.parametrize(
    "script",
    [
        "scripts/demo",
        "scripts/test",
        "scripts/setup",
        "scripts/check",
        "benchmarks/camvid",
        "benchmarks/compression",
        "benchmarks/loops",
    ],
)
def test_each_script_is_there_and_executable(script: str) -> None:
    assert (TOP / script).stat().st_mode & 0o111


def test_the_table_is_that_of_the_stored_measurements() -> None:
    table = re.search(r"<!-- table:begin -->\n(.*?)<!-- table:end -->", README, flags=re.DOTALL)
    assert table is not None
    stored = read_measurements([TOP / "benchmarks" / "results"])
    assert table[1].strip() == markdown(compare(stored))


# What each kind of compressed checkpoint loses at most (share of mIoU), and its inference's speed-up at least.
PROMISED = {"half": (0.01, 1.5), "int8": (0.003, 1.0), "relu": (0.01, 2.0)}


@pytest.mark.parametrize("family", ["fast_scnn", "lraspp_mobilenet_v3_small"])
def test_the_tables_of_compressed_nets_are_those_of_the_stored_measurements(family: str) -> None:
    table = re.search(rf"<!-- {family}:begin -->\n(.*?)<!-- {family}:end -->", README, flags=re.DOTALL)
    assert table is not None
    compared = compare(
        read_measurements([TOP / "benchmarks" / "results-compression" / family]), baseline=f"{family}-camvid"
    )
    assert table[1].strip() == markdown(compared)
    for row in compared.rows:
        lost, speed_up = PROMISED.get(row.measurement.model.rsplit("-", 1)[-1], (1.0, 0.0))
        assert row.miou_change is not None
        assert -row.miou_change <= lost, row.label
        assert row.infer_speed_up is not None
        assert row.infer_speed_up >= speed_up, row.label
    light = [row for row in compared.rows if (row.miou_change or 0.0) >= -0.01 and (row.infer_speed_up or 0.0) >= 3]
    assert len({row.measurement.engine for row in light}) >= 2


def test_what_was_measured_meets_what_is_promised() -> None:
    rows = compare(read_measurements([TOP / "benchmarks" / "results"])).rows
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


def test_the_loops_table_is_that_of_the_stored_measurements() -> None:
    found = re.search(r"<!-- loop:begin -->\n(.*?)<!-- loop:end -->", README, flags=re.DOTALL)
    assert found is not None
    table = runpy.run_path(str(TOP / "benchmarks" / "loop_table.py"))
    assert found[1].strip() == table["table"]()
    for size in table["SIZES"]:
        assert all(row["ratio"] >= 0.95 for row in table["rows"]("loop", size).values())
        assert all(row["ratio"] >= 1.5 for row in table["rows"]("plain_loop", size).values())


def test_the_loop_held_out_as_told() -> None:
    soak = json.loads((TOP / "benchmarks" / "results" / "loop" / "soak.json").read_text(encoding="utf-8"))
    ratios, memory = soak["loop_over_engine_by_minute"], soak["memory_mb_by_tenth"]
    assert soak["minutes"] > 29.5
    assert len(ratios) == 30
    assert soak["last_over_first"]["loop_over_engine"] >= 0.95
    assert (soak["grows"]["threads"], soak["grows"]["files"]) == (False, False)
    assert soak["grows"]["memory_mb"] == ("which the benchmark calls growth" in README)
    told = " ".join(README.split())
    first, last, scatter = (f"{100 * value:.0f} %" for value in (ratios[0], ratios[-1], soak["spread"]["engine"]))
    assert memory[-1] - memory[2] < 0.1
    third, tenth = (f"{memory[part]:.2f} MB" for part in (2, -1))
    assert f"resident memory {third} in the third tenth of the run and {tenth} in the last" in told
    assert f"at {first} of the engine's own rate in the first minute and at {last} in the last" in told
    assert f"own rate scattered by {scatter}" in told


def test_the_teacher_brought_what_is_told() -> None:
    runs = json.loads((TOP / "benchmarks" / "results-compression" / "distillation.json").read_text(encoding="utf-8"))
    points = {(run["kind"], run["seed"]): 100 * run["val"]["miou"] for run in runs}
    assert all(points["distill", seed] >= points["finetune", seed] + 1.0 for seed in (1, 2))
    taught, alone = (" and ".join(f"{points[kind, seed]:.2f} %" for seed in (1, 2)) for kind in ("distill", "finetune"))
    assert f"ends at {taught} (two seeds), labels alone at {alone}" in " ".join(README.split())
