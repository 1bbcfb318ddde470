"""The SQLite index follows the files of a folder, reads only what changed, and touches no other database."""

from __future__ import annotations

import csv
import dataclasses
import io
import os
import sqlite3
from pathlib import Path

import pytest
from bench.measured import measurement, several

from edgeseg.bench import write_measurement
from edgeseg.bench.record_index import IndexUpdate, update_index
from edgeseg.cli.main import main
from edgeseg.core.files import write_json
from edgeseg.errors import InputError, RecipeError


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Return a folder of five measurements, one of them nested, and a JSON file of another kind."""
    folder = tmp_path / "results"
    for number, item in enumerate(several()):
        write_measurement(item, folder / "nested" if number == 0 else folder)
    (folder / "receipt.json").write_text('{"schema": 1}')
    return folder


def rows(database: Path, query: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(database)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def test_an_index_is_queried_by_device_stage_metric_and_class(results: Path, tmp_path: Path) -> None:
    index = tmp_path / "index.sqlite"
    assert update_index(index, [results]) == IndexUpdate(measurements=5, read=6, removed=0)
    fastest = rows(
        index,
        "SELECT artifact, height, width, p50_ms FROM measurements JOIN latency USING (file) "
        "WHERE device = 'Raspberry Pi 5' AND stage = 'total' ORDER BY p50_ms LIMIT 1",
    )
    assert fastest == [("fast_scnn-tflite-int8", 352, 480, pytest.approx(5.3))]
    sky = rows(index, "SELECT DISTINCT round(value, 2) FROM metrics WHERE metric = 'miou' AND class = 'sky'")
    assert (0.54,) in sky
    assert rows(index, "SELECT json_extract(record, '$.engine_options.xnnpack') FROM measurements LIMIT 1") == [("on",)]


def test_only_new_and_changed_files_are_read_again_and_gone_ones_are_removed(results: Path, tmp_path: Path) -> None:
    index = tmp_path / "index.sqlite"
    update_index(index, [results])
    assert update_index(index, [results]) == IndexUpdate(measurements=5, read=0, removed=0)
    (nested,) = (results / "nested").iterdir()
    nested.unlink()
    write_measurement(dataclasses.replace(measurement(), model="lraspp"), results)
    other = next(path for path in results.iterdir() if "onnx" in path.name)
    state = other.stat()
    os.utime(other, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    assert update_index(index, [results]) == IndexUpdate(measurements=5, read=2, removed=1)
    assert rows(index, "SELECT count(*) FROM measurements WHERE model = 'lraspp'") == [(1,)]
    assert rows(index, "SELECT count(*) FROM latency WHERE file NOT IN (SELECT file FROM measurements)") == [(0,)]


def test_a_damaged_file_leaves_the_index_as_it_was(results: Path, tmp_path: Path) -> None:
    index = tmp_path / "index.sqlite"
    update_index(index, [results])
    before = index.read_bytes()
    write_measurement(measurement(threads=4), results)
    (results / "z.json").write_text('{"artifact_sha256": 3}')
    with pytest.raises(RecipeError, match=r"z\.json: not a measurement"):
        update_index(index, [results])
    assert rows(index, "SELECT count(*) FROM measurements") == [(5,)]
    assert index.read_bytes() == before


def test_other_databases_and_files_are_left_alone(results: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs.sqlite"
    connection = sqlite3.connect(theirs)
    connection.execute("CREATE TABLE songs (title)")
    connection.close()
    text = tmp_path / "notes.txt"
    text.write_text("not a database, but a page of notes " * 40)
    for database, words in (
        (theirs, "not an index of measurements"), (text, "cannot be used as an index"), (tmp_path, "is a folder"),
        (tmp_path / "no" / "such", "cannot be used as an index"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=words):
            update_index(database, [results])
    assert rows(theirs, "SELECT name FROM sqlite_master") == [("songs",)]
    with pytest.raises(InputError, match="no such file"):
        update_index(tmp_path / "new.sqlite", [tmp_path / "missing.json"])


def test_compare_writes_an_index_and_prints_csv_in_full(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", str(results), "--csv", "--sqlite", str(tmp_path / "index.sqlite")]) == 0
    printed = capsys.readouterr()
    assert "index.sqlite, 5 measurements; 6 files read, 0 removed" in printed.err
    table = list(csv.DictReader(io.StringIO(printed.out)))
    assert len(table) == 5
    by_name = {row["artifact"]: row for row in table}
    int8 = by_name["fast_scnn-tflite-int8"]
    assert (int8["device"], int8["height"], float(int8["p50_ms"])) == ("Raspberry Pi 5", "352", pytest.approx(5.3))
    assert float(int8["speed_up"]) == pytest.approx(8.1 / 5.3)
    assert by_name["fast_scnn-coreml-fp32"]["p50_ms"] == ""
    assert int8["baseline"] in [row["label"] for row in table]


def test_a_file_name_that_is_not_utf8_is_indexed_too(tmp_path: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.json"))
    try:
        write_json(measurement(), odd)
    except OSError:
        pytest.skip("this file system takes UTF-8 names alone")
    database = tmp_path / "index.sqlite"
    assert update_index(database, [tmp_path]).read == 1
    assert update_index(database, [tmp_path]).read == 0
    assert rows(database, "SELECT file FROM files") == [(f"{tmp_path}/caf\\xe9.json",)]
