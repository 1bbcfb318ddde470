"""OpenVINO: the contract, and that nothing is reported to anyone."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from contracts.converter_contract import ConverterContract, exported
from torch import Tensor, nn
from torch.nn import functional as F

from edgeseg.converters.openvino import CONVERTER
from edgeseg.core.spec import TensorSpec
from edgeseg.export.observing import observe_points
from edgeseg.export.onnx_file import write_onnx
from edgeseg.export.quantizing import quantize_program
from edgeseg.graph.quantization_points import plan_quantization

if TYPE_CHECKING:
    from pathlib import Path


class TestOpenvino(ConverterContract):
    format, library = "openvino", "openvino"
    deterministic = False


def test_every_convolution_runs_in_int8(tmp_path: Path) -> None:
    report = CONVERTER.convert(exported("int8"), folder=tmp_path).report
    assert "Convolution" not in {item.op for item in report.fallbacks}
    assert {item.op for item in report.fallbacks} <= {"Interpolate", "Subgraph", "Eltwise"}


class Bright(nn.Module):
    """Sums of bright channels with weights of one sign: the largest products that int8 has."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 32, 1), nn.Conv2d(32, 4, 1)
        for layer in (self.first, self.second):
            nn.init.constant_(layer.weight, 1 / layer.in_channels)
            nn.init.zeros_(layer.bias)

    def forward(self, image: Tensor) -> Tensor:
        return self.second(F.relu(self.first(image.permute(0, 3, 1, 2))))


def test_bright_channels_do_not_overflow_where_rules_avoid_saturation(tmp_path: Path) -> None:
    import openvino

    image = torch.ones(1, 16, 16, 3)
    with torch.no_grad():
        program = torch.export.export(Bright().eval(), (image,))
    rules = dataclasses.replace(CONVERTER.rules, avoid_saturation="always")
    graph = program.module()
    found = observe_points(graph, lambda: iter([image.numpy()]), plan=plan_quantization(graph, rules=rules))
    made = quantize_program(program, ranges=found, rules=rules, images=[image])
    source = TensorSpec(name="image", shape=(1, 16, 16, 3), dtype="float32", layout="NHWC", role="image")
    answer = TensorSpec(name="logits", shape=(1, 4, 16, 16), dtype="float32", layout="NCHW", role="logits")
    write_onnx(made.folded_program, tmp_path / "bright.onnx", image=source, answer=answer)
    model = openvino.convert_model(str(tmp_path / "bright.onnx"))
    compiled = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    assert np.abs(compiled(image.numpy())[0] - 1).max() < 0.03
    steps = [step.get_rt_info() for step in compiled.get_runtime_model().get_ops()]
    convolutions = [step for step in steps if str(step["layerType"].value) == "Convolution"]
    assert [str(step["runtimePrecision"].value) in ("u8", "i8") for step in convolutions] == [True, True]


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
