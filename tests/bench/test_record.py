"""Records on disk: what identifies them, what they may not say, and those of older schemas."""

from __future__ import annotations

import dataclasses
import json
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema
import numpy as np
import pytest
from bench.measured import DEVICE, measurement

from edgeseg.bench import check_gate, compare, read_measurement, read_measurements, write_measurement
from edgeseg.bench.record_schema import schema_text
from edgeseg.bench.samples import latency_of, pack_samples, unpack_samples
from edgeseg.core.metric_value import MetricValue
from edgeseg.errors import InputError, RecipeError

if TYPE_CHECKING:
    from edgeseg.core.measurement import Measurement

TOP = Path(__file__).resolve().parents[2]
STORED = TOP / "benchmarks" / "results"
SCHEMA_FILE = TOP / "docs" / "measurement.schema.json"


def timed(runs: int = 200) -> Measurement:
    times_ns = np.random.default_rng(1).gamma(20, 2e5, (runs, 3)).astype(np.int64)
    samples = pack_samples(times_ns)
    latency = latency_of(samples)
    fps = round(1000 / latency[-1].p50_ms, 2)
    return dataclasses.replace(measurement(), samples=samples, latency=latency, fps=fps)


def changed(record: Measurement, folder: Path, keys: str, value: object) -> Path:
    """Write a record, change one value in its file, and return the file."""
    path = write_measurement(record, folder / "record.json")
    table = json.loads(path.read_text(encoding="utf-8"))
    place = table
    *outer, last = keys.split(".")
    for key in outer:
        place = place[int(key) if key.isdigit() else key]
    place[last] = value
    path.write_text(json.dumps(table), encoding="utf-8")
    return path


def test_two_devices_with_one_folder_keep_both(tmp_path: Path) -> None:
    jetson = dataclasses.replace(measurement(), device=dataclasses.replace(DEVICE, name="Jetson Orin"))
    paths = {write_measurement(item, tmp_path / "same") for item in (measurement(), jetson, measurement())}
    assert len(paths) == 3
    assert len(read_measurements([tmp_path])) == 3
    with pytest.raises(InputError, match="exists already"):
        write_measurement(jetson, paths.pop())


def test_nested_folders_are_read_and_other_json_is_passed_over(tmp_path: Path) -> None:
    write_measurement(measurement(), tmp_path / "2026" / "may")
    write_measurement(measurement(threads=4), tmp_path / "2026" / "june")
    (tmp_path / "predictions.json").write_text("{}", encoding="utf-8")
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "half.json").write_text("{", encoding="utf-8")
    assert [item.threads for item in read_measurements([tmp_path])] == [4, 2]


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        ("accuracy.metrics.miou.value", 5.0, r"accuracy.metrics.miou: value is 5; a fraction is 0 to 1"),
        ("latency.3.p99_ms", -1, r"latency\[3\]: p99_ms is -1; it must be at least 0"),
        ("latency.3.p50_ms", 0.001, r"p50_ms is 0.001, below min_ms"),
        ("latency.1.p90_ms", 5.2, r"latency.infer.p90_ms is 5.2; the samples give"),
        ("latency.1.p90_ms", 5.3, r"p90_interval_ms is .*; p90_ms, 5.3, is not inside"),
        ("fps", 900, r"fps is 900; 1000 / p50_ms of the total is"),
        ("threads", 0, r"threads is 0"),
        ("label_agreement", 1.5, r"label_agreement is 1.5; it must be 0 to 1"),
        ("artifact_bytes", 0, r"artifact_bytes is 0"),
        ("input_size", [0, 480], r"input_size is 0"),
        ("device.cores", 0, r"device: cores is 0"),
        ("samples.data", "AAAA", r"samples.data is damaged"),
        ("samples.runs", 199, r"samples.data: does not hold 199 runs"),
    ],
)
def test_an_impossible_or_edited_figure_is_refused_by_name(
    keys: str, value: object, message: str, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=message):
        read_measurement(changed(timed(), tmp_path, keys, value))


def test_a_p99_of_five_runs_is_refused_and_not_written(tmp_path: Path) -> None:
    assert timed(5).latency[-1].p99_ms is None
    with pytest.raises(RecipeError, match=r"p99_ms is 30 of 5 runs; it takes 200"):
        read_measurement(changed(timed(5), tmp_path, "latency.3.p99_ms", 30))


def test_samples_survive_and_give_the_percentiles(tmp_path: Path) -> None:
    record = read_measurement(write_measurement(timed(), tmp_path))
    assert record == timed()
    assert record.samples is not None
    times_ms = unpack_samples(record.samples)
    assert times_ms.shape == (200, 3)
    assert record.latency[-1].p50_ms == pytest.approx(np.median(times_ms.sum(axis=1)), abs=1e-4)


def test_a_bomb_of_samples_is_not_inflated(tmp_path: Path) -> None:
    bomb = pack_samples(np.zeros((2_000_000, 3), np.int64))
    with pytest.raises(RecipeError, match="does not hold 200 runs"):
        read_measurement(changed(timed(), tmp_path, "samples.data", bomb.data))
    tracemalloc.start()
    try:
        with pytest.raises(RecipeError, match="does not hold 200 runs"):
            unpack_samples(dataclasses.replace(bomb, runs=200))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20, "it holds 24 MB"
    finally:
        tracemalloc.stop()


def test_stored_records_of_schema_1_open_compare_and_gate() -> None:
    old = json.loads(next(iter(sorted(STORED.glob("*onnx-int8*.json")))).read_text(encoding="utf-8"))
    assert old["schema"] == 1
    records = read_measurements([STORED])
    assert len(records) == 24
    assert {record.schema for record in records} == {2}
    read = next(record for record in records if record.artifact_sha256 == old["artifact_sha256"])
    assert read.accuracy is not None
    assert read.accuracy.miou == old["accuracy"]["miou"]
    assert read.accuracy.per_class("mean_dice") == old["accuracy"]["per_class_dice"]
    assert read.peak_memory_mb == pytest.approx(old["peak_memory_mb"] * 1.048576, abs=0.1)
    assert read.image_size == tuple(old["picture_size"])
    assert any(row.speed_up and row.miou_change is not None for row in compare(records).rows)
    check_gate("miou>=50,p99_ms<=1000", records)


def test_a_record_with_a_metric_from_elsewhere_opens(tmp_path: Path) -> None:
    record = timed()
    assert record.accuracy is not None
    extra = {**record.accuracy.metrics, "hausdorff": MetricValue(value=31.5, unit="px", better="lower")}
    record = dataclasses.replace(record, accuracy=dataclasses.replace(record.accuracy, metrics=extra))
    found = read_measurement(write_measurement(record, tmp_path))
    assert found.accuracy is not None
    assert found.accuracy.value("hausdorff") == 31.5


def test_the_published_schema_is_that_of_the_code_and_holds(tmp_path: Path) -> None:
    assert SCHEMA_FILE.read_text(encoding="utf-8") == schema_text(), (
        "python -m edgeseg.bench.record_schema > docs/measurement.schema.json"
    )
    schema = json.loads(schema_text())
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    table = json.loads(write_measurement(timed(), tmp_path).read_text(encoding="utf-8"))
    validator.validate(table)
    for wrong in (
        {**table, "speed": 1},
        {**table, "threads": "two"},
        {k: v for k, v in table.items() if k != "device"},
    ):
        assert list(validator.iter_errors(wrong))
