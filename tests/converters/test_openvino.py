"""OpenVINO: the contract, and that nothing is reported to anyone."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from contracts.converter_contract import ConverterContract, exported

from edgeseg.converters.openvino import CONVERTER

if TYPE_CHECKING:
    from pathlib import Path


class TestOpenvino(ConverterContract):
    format, library = "openvino", "openvino"
    deterministic = False


def test_every_convolution_runs_in_int8(tmp_path: Path) -> None:
    report = CONVERTER.convert(exported("int8"), folder=tmp_path).report
    assert "Convolution" not in {item.op for item in report.fallbacks}
    assert {item.op for item in report.fallbacks} <= {"Interpolate", "Subgraph", "Eltwise"}


def test_the_ir_does_not_say_where_it_was_made(tmp_path: Path) -> None:
    CONVERTER.convert(exported("fp32"), folder=tmp_path)
    text = (tmp_path / "model.xml").read_text(encoding="utf-8")
    assert str(exported("fp32").onnx.parent) not in text


@pytest.mark.parametrize("before", ["", "import openvino_telemetry; "])
def test_telemetry_is_not_loaded(before: str) -> None:
    code = (
        f"{before}from edgeseg.core.vendor_telemetry import forbid_telemetry; forbid_telemetry(); "
        "import openvino, sys; "
        "import openvino.tools.ovc.telemetry_utils as used; print(used.tm.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("telemetry_stub")
