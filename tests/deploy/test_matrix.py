"""The conversion matrix: resumes, says why a cell failed, and writes its page from what is stored."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
import torch

from edgeseg.cli.main import main
from edgeseg.core import registry
from edgeseg.deploy import matrix as measuring
from edgeseg.deploy.matrix import Cell, Matrix, fill_matrix, read_matrix
from edgeseg.deploy.matrix_net import settled_net
from edgeseg.deploy.matrix_page import costly_ops, matrix_page
from edgeseg.errors import GateError, InputError, MissingDependency

if TYPE_CHECKING:
    from pathlib import Path

    from edgeseg.deploy.conversion_request import ConversionRequest

SIZE = (64, 96)
NETS, FORMATS, PRECISIONS = ("unet", "fast_scnn"), ("tflite", "onnx"), ("fp32", "int8")


def artifact() -> object:
    """Return what a conversion reports, as far as the matrix reads it."""
    ops = [SimpleNamespace(op=name) for name in ("CONV_2D", "CONV_2D", "TRANSPOSE")]
    manifest = SimpleNamespace(
        proof=SimpleNamespace(level="engine", reason=""),
        parity=SimpleNamespace(label_agreement=0.9995, engine="litert 2"),
        placements=ops,
        report=SimpleNamespace(fallbacks=(SimpleNamespace(op="SOFTMAX", reason="no int8 kernel"),)),
    )
    return SimpleNamespace(manifest=manifest, size_bytes=1_500_000)


def fill(file: Path, monkeypatch: pytest.MonkeyPatch, *, redo: bool = False) -> tuple[Matrix, list[Cell], list[str]]:
    made: list[str] = []

    def convert(_: object, request: ConversionRequest) -> tuple[object, ...]:
        wanted = (request.target, request.precision)
        if wanted == ("onnx", "int8"):
            raise GateError("85.00 % of the labels agree", agreement=0.85)
        if wanted == ("onnx", "fp32"):
            raise ZeroDivisionError("in the vendor's tool")
        return (artifact(),)

    def make(name: str, size: tuple[int, int], folder: Path, *, ranges: bool) -> object:
        assert ranges
        made.append(name)
        return object()

    monkeypatch.setattr(measuring, "convert_for_targets", convert)
    cells: list[Cell] = []
    found = fill_matrix(
        file,
        nets=NETS,
        formats=FORMATS,
        precisions=PRECISIONS,
        size=SIZE,
        make=make,  # type: ignore[arg-type]
        redo=redo,
        on_cell=cells.append,
    )
    return found, cells, made


def test_every_cell_is_stored_with_its_outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, cells, _ = fill(tmp_path / "matrix.json", monkeypatch)
    stored = read_matrix(tmp_path / "matrix.json", size=SIZE)
    assert len(cells) == len(stored.cells) == 8
    good, crashed, below = (
        stored.cell("unet", *key) for key in (("tflite", "int8"), ("onnx", "fp32"), ("onnx", "int8"))
    )
    assert good is not None
    assert (good.status, good.agreement, good.size_bytes) == ("converted", 0.9995, 1_500_000)
    assert good.ops == {"CONV_2D": 2, "TRANSPOSE": 1}
    assert good.in_float == {"SOFTMAX: no int8 kernel": 1}
    assert crashed is not None
    assert (crashed.status, crashed.reason) == ("failed", "ZeroDivisionError: in the vendor's tool")
    assert below is not None
    assert (below.status, below.agreement) == ("failed", 0.85)


def test_a_second_run_measures_only_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "matrix.json"
    fill(file, monkeypatch)
    assert fill(file, monkeypatch)[1:] == ([], [])
    assert len(fill(file, monkeypatch, redo=True)[1]) == 8


def test_cells_of_another_size_are_not_mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "matrix.json", monkeypatch)
    with pytest.raises(InputError, match="measured at 64x96"):
        read_matrix(tmp_path / "matrix.json", size=(96, 128))


def test_the_page_shows_failures_and_cells_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, _, _ = fill(tmp_path / "matrix.json", monkeypatch)
    page = matrix_page(found, nets=(*NETS, "bisenet_v2"), formats=FORMATS, precisions=PRECISIONS)
    assert "8 of 12 cells were run" in page
    assert "| format | fp32 | int8 |" in page
    assert "| tflite | 2 of 2, 99.95 % or more | 2 of 2, 99.95 % or more |" in page
    assert "| onnx | 0 of 2 | 0 of 2 |" in page
    for name in FORMATS:
        table = page.partition(f"| {name} | fp32 | int8 |\n")[2].partition("\n\n")[0]
        assert "| bisenet_v2 | not run | not run |" in table
    assert "| unet | 99.95 %, 1.5 MB | 99.95 %, 1.5 MB |" in page
    assert "| unet | **failed** | **85.00 %**, below the gate |" in page
    assert "`unet` onnx fp32: ZeroDivisionError: in the vendor's tool" in page
    assert "`unet` tflite int8: SOFTMAX: no int8 kernel x1" in page
    assert "`unet` tflite fp32: TRANSPOSE x1" in page


def test_costly_ops_are_those_of_tflite_alone() -> None:
    ops = {"TRANSPOSE": 1, "TRANSPOSE_CONV": 2, "GATHER_ND": 1, "FlexErf": 3, "CONV_2D": 9}
    cell = Cell(net="n", format="tflite", precision="fp32", status="converted", ops=ops)
    assert costly_ops(cell) == {"TRANSPOSE": 1, "GATHER_ND": 1, "FlexErf": 3}
    assert costly_ops(Cell(net="n", format="onnx", precision="fp32", status="converted", ops=ops)) == {}


def test_a_format_without_its_library_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def check(_: object) -> None:
        raise MissingDependency("onnx is not installed")

    monkeypatch.setattr(type(registry.load_plugin("converters", "onnx")), "check", check)
    cell = fill(tmp_path / "matrix.json", monkeypatch)[0].cell("unet", "onnx", "fp32")
    assert cell is not None
    assert (cell.status, cell.reason) == ("missing", "onnx is not installed")


def test_settled_nets_show_several_classes(tmp_path: Path) -> None:
    checkpoint = settled_net("fast_scnn", SIZE, tmp_path / "net", ranges=False)
    assert checkpoint.spec.size == SIZE
    with torch.no_grad():
        labels = checkpoint.net(torch.randn(2, 3, *SIZE)).argmax(1)
    assert len(labels.unique()) > 1


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--matrix", "m.json", "--nets", "fast_scn"], 1, 'Did you mean "fast_scnn"'),
        (["--matrix", "m.json", "--formats", "tensorrt"], 1, "format"),
        (["--nets", "fast_scnn"], 2, "--nets belongs to --matrix"),
    ],
)
def test_wrong_options_are_one_line(
    arguments: list[str], status: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", *arguments]) == status
    assert words in capsys.readouterr().err
