"""What bench writes down; never how fast this machine is."""

from __future__ import annotations

import gc
import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
from contracts.tiny_artifact import image, make_artifact

from edgeseg.bench import (
    bench_interleaved,
    measure_latency,
    ratio,
    read_measurement,
    read_measurements,
    write_measurement,
)
from edgeseg.bench.samples import STAGES, summarise
from edgeseg.errors import InputError, RecipeError
from edgeseg.runtime import Session, load

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edgeseg.core.measurement import Measurement


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("tiny") / "tiny"
    make_artifact(place, file_format="onnx")
    return place


@pytest.fixture
def session(folder: Path) -> Iterator[Session]:
    with load(folder, engine="onnxruntime", threads=1) as opened:
        yield opened


@pytest.fixture(scope="module")
def measured(folder: Path) -> Measurement:
    with load(folder, engine="onnxruntime", threads=1) as session:
        return measure_latency(session, runs=12, warmup=2, device_name="test bench")


class Reference:
    """A session whose engine only checks numbers."""

    engine = "mil-reference"

    def __init__(self, session: Session) -> None:
        self.artifact, self.threads, self.options = session.artifact, session.threads, session.options
        self.engine_version = "0"

    def preprocess(self, image: np.ndarray) -> np.ndarray:
        raise AssertionError("a reference must not be timed")


def test_every_stage_is_timed_on_rendered_streets(measured: Measurement) -> None:
    assert tuple(item.stage for item in measured.latency) == STAGES
    assert all(0 < item.min_ms <= item.p50_ms <= item.p90_ms and item.p99_ms is None for item in measured.latency)
    assert {item.runs for item in measured.latency} == {12}
    total = measured.stage("total")
    assert total is not None
    assert measured.fps == pytest.approx(1000 / total.p50_ms, abs=0.01)
    assert measured.image_size == (360, 480)


def test_a_measurement_says_what_ran_where(measured: Measurement, folder: Path) -> None:
    assert (measured.artifact, measured.model, measured.format) == ("tiny-onnx", "tiny", "onnx")
    assert (measured.engine, measured.threads, measured.warmup, measured.precision) == ("onnxruntime", 1, 2, "fp32")
    assert measured.engine_version
    assert len(measured.artifact_sha256) == 64
    assert measured.device.name == "test bench"
    assert measured.device.cores >= 1
    assert measured.lineage is not None
    assert measured.lineage.checkpoint == "tiny"


def test_memory_is_that_of_a_fresh_process(measured: Measurement) -> None:
    assert measured.peak_memory_mb is not None
    assert 20 < measured.peak_memory_mb < 1000
    assert "fresh process" in measured.peak_memory_how


def test_interleaving_gives_each_its_own_runs_and_restores_the_collector(session: Session, folder: Path) -> None:
    calls: list[tuple[int, int]] = []
    with load(folder, engine="onnxruntime", threads=1) as other:
        both = bench_interleaved(
            [session, other], runs=20, warmup=1, images=[image()], memory=False,
            on_progress=lambda _what, done, total: calls.append((done, total)),
        )  # fmt: skip
    assert [item.latency[0].runs for item in both] == [20, 20]
    assert both[0].peak_memory_mb is None
    assert both[0].peak_memory_how == ""
    assert calls[0] == (2, 40)
    assert calls[-1] == (40, 40)
    assert gc.isenabled()
    speed_up = ratio(both[0], both[1])
    assert speed_up is not None
    assert speed_up * (ratio(both[1], both[0]) or 0) == pytest.approx(1)


def test_seconds_end_the_runs_but_not_before_five(session: Session) -> None:
    short = measure_latency(session, runs=10_000, warmup=0, images=[image()], seconds=1e-9, memory=False)
    assert short.latency[0].runs == 5


def test_a_reference_evaluator_has_no_latency(session: Session) -> None:
    measurement = measure_latency(Reference(session))  # type: ignore[arg-type]
    assert (measurement.latency, measurement.fps, measurement.peak_memory_mb) == ((), 0.0, None)
    assert ratio(measurement, measurement) is None


def test_percentiles_are_those_of_the_runs() -> None:
    item = summarise("infer", np.arange(1, 202, dtype=np.float64))
    assert (item.p50_ms, item.p90_ms, item.p99_ms, item.mean_ms, item.min_ms) == (101, 181, 199, 101, 1)


def test_impossible_options_are_refused(session: Session) -> None:
    with pytest.raises(InputError, match="runs is 0"):
        measure_latency(session, runs=0)
    with pytest.raises(InputError, match="warmup is -1"):
        measure_latency(session, warmup=-1)
    with pytest.raises(InputError, match="seconds is 0"):
        measure_latency(session, seconds=0)
    with pytest.raises(InputError, match="images is empty"):
        measure_latency(session, images=[])


def test_a_measurement_survives_its_file(measured: Measurement, tmp_path: Path) -> None:
    path = write_measurement(measured, tmp_path / "results")
    assert re.fullmatch(r"test_bench-tiny_onnx-[0-9a-f]{8}-64x96-onnxruntime-1t-\d{8}T\d{9}.json", path.name), path.name
    assert read_measurement(path) == measured
    exact = write_measurement(measured, tmp_path / "deep" / "mine.json")
    assert read_measurements([exact, tmp_path / "results"]) == (measured, measured)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"wrong\.json: not valid JSON"),
        ('{"hello": 1}', r"wrong\.json: not a measurement: schema None"),
        ('{"schema": 2, "hello": 1}', r'wrong\.json: not a measurement: .*unknown key "hello"'),
        ("[]", r"wrong\.json: not a measurement: expected an object"),
    ],
)
def test_a_wrong_file_is_named(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "wrong.json").write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError, match=message):
        read_measurements([tmp_path / "wrong.json"])


def test_missing_files_and_another_schema_are_refused(measured: Measurement, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_measurements([tmp_path / "none.json"])
    with pytest.raises(InputError, match="no measurement in this folder"):
        read_measurements([tmp_path])
    path = write_measurement(measured, tmp_path / "old.json")
    path.write_text(path.read_text(encoding="utf-8").replace('"schema": 2', '"schema": 9', 1), encoding="utf-8")
    with pytest.raises(RecipeError, match="schema 9; this edgeseg reads schemas 1 and 2"):
        read_measurement(path)
