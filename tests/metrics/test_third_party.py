"""A metric of another package: in validate, records, compare, gates and the report, without a file of ours changed."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from contracts import tiny_artifact as tiny

from edgeseg.cli.main import main
from edgeseg.core import registry
from edgeseg.metrics import MetricSet, Prediction

if TYPE_CHECKING:
    from pathlib import Path

PACKAGE = """
from edgeseg.core.metric_value import MetricValue

class WrongPixels:
    need = "labels"

    def __init__(self, classes, /, *, ignore_index):
        self.ignore_index, self.wrong = ignore_index, 0

    def update(self, prediction, truth, /):
        self.wrong += int(((prediction.labels != truth) & (truth != self.ignore_index)).sum())

    def compute(self):
        return {"wrong_pixels": MetricValue(value=float(self.wrong), unit="px", better="lower")}
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "site"
    (folder / "theirs-1.0.dist-info").mkdir(parents=True)
    (folder / "their_metrics.py").write_text(PACKAGE, encoding="utf-8")
    (folder / "theirs-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (folder / "theirs-1.0.dist-info" / "entry_points.txt").write_text(
        "[edgeseg.metrics]\nwrong_pixels = their_metrics:WrongPixels\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    registry._points.cache_clear()
    return folder


@pytest.fixture(autouse=True)
def forget(monkeypatch: pytest.MonkeyPatch) -> object:
    yield
    monkeypatch.undo()
    registry._points.cache_clear()


def data_set(folder: Path) -> Path:
    for part in ("images", "labels"):
        (folder / part / "val").mkdir(parents=True)
    (folder / "classes.txt").write_text("\n".join(tiny.CLASSES) + "\n")
    cv2.imwrite(str(folder / "images" / "val" / "a.png"), tiny.image())
    labels = np.full(tiny.SIZE, 1, np.uint8)
    labels[: tiny.SIZE[0] // 2] = 2
    cv2.imwrite(str(folder / "labels" / "val" / "a.png"), labels)
    return folder


@pytest.mark.usefixtures("package")
def test_it_shows_up_everywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.make_artifact(tmp_path / "a", file_format="onnx")
    data, results = str(data_set(tmp_path / "data")), str(tmp_path / "r")
    assert main(["validate", str(tmp_path / "a"), "--data", data, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["metrics"]["wrong_pixels"]
    assert found["value"] > 0
    assert (found["unit"], found["better"]) == ("px", "lower")
    bench = ["bench", str(tmp_path / "a"), "--runs", "1", "--warmup", "1", "--data", data, "--out", results]
    assert main(bench) == 0
    assert main(["compare", results, "--gate", "wrong_pixels<=1"]) == 3
    assert "wrong_pixels is" in capsys.readouterr().err
    page = tmp_path / "page.html"
    assert main(["compare", results, "--html", str(page)]) == 0
    assert "wrong pixels" in page.read_text(encoding="utf-8")
    monkeypatch.undo()
    registry._points.cache_clear()
    assert "wrong_pixels" not in registry.names("metrics")
    assert main(["compare", results, "--gate", "wrong_pixels<=1e9".replace("1e9", "1000000")]) == 0


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ('{"wrong_pixels": 0.5}', "its value wrong_pixels is a float, not a MetricValue"),
        ('{"miou": MetricValue(value=1.0)}', "another metric gives a value of the name miou, too"),
        ("None", "TypeError"),
    ],
)
def test_one_that_returns_something_else_or_takes_our_name_is_left_out(
    returned: str, said: str, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = PACKAGE[: PACKAGE.index("        return {")] + f"        return {returned}\n"
    (package / "their_metrics.py").write_text(source, encoding="utf-8")
    # Before all of ours by name.
    entry = package / "theirs-1.0.dist-info" / "entry_points.txt"
    entry.write_text(entry.read_text().replace("wrong_pixels =", "a_wrong_pixels ="))
    monkeypatch.delitem(sys.modules, "their_metrics", raising=False)
    metrics = MetricSet(("a", "b"), ignore_index=255)
    labels = np.zeros((4, 4), np.uint8)
    metrics.update(Prediction(labels=labels), labels + np.eye(4, dtype=np.uint8))
    found = metrics.compute()
    assert found["miou"].value == pytest.approx(0.375)
    assert "wrong_pixels" not in found
    assert len(metrics.faults) == 1
    assert said in metrics.faults[0]
    monkeypatch.delitem(sys.modules, "their_metrics")
