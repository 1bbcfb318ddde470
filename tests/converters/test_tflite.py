"""What a `.tflite` holds, and that LiteRT answers as the exported program does."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from contracts.deployable import deployable, images, ranges
from torch import Tensor, nn

from edgeseg.converters.tflite import CONVERTER
from edgeseg.converters.tflite.census import census
from edgeseg.converters.tflite.flatbuffer import ALIGNMENT, TFLiteModel, read_model, write_model
from edgeseg.converters.tflite.float_islands import keep_in_float
from edgeseg.converters.tflite.half import halve_weights
from edgeseg.converters.tflite.lowering import lower
from edgeseg.core import requirements
from edgeseg.core.exported import Conversion, ExportedModel
from edgeseg.core.protocols import Converter
from edgeseg.errors import ConversionError, MissingDependency
from edgeseg.export import export
from edgeseg.export.observing import observe_points
from edgeseg.export.quantizing import quantize_program
from edgeseg.graph.quantization_points import plan_quantization
from edgeseg.graph.scale_limits import affine
from edgeseg.pixels import prepare

if TYPE_CHECKING:
    from pathlib import Path

    from edgeseg.core.quantization import Precision, Ranges
    from edgeseg.models.checkpoint import Checkpoint

Made = tuple[ExportedModel, Conversion, bytes]


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return deployable(short=True)


@pytest.fixture(scope="module")
def observed(checkpoint: Checkpoint) -> Ranges:
    return ranges(checkpoint)


def make(checkpoint: Checkpoint, folder: Path, *, precision: Precision, observed: Ranges | None = None) -> Made:
    exported = export(checkpoint, precision=precision, ranges=observed, folder=folder)
    conversion = CONVERTER.convert(exported, folder=folder)
    return exported, conversion, (folder / conversion.entry).read_bytes()


@pytest.fixture(scope="module")
def fp32(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(checkpoint, tmp_path_factory.mktemp("fp32"), precision="fp32")


@pytest.fixture(scope="module")
def int8(checkpoint: Checkpoint, observed: Ranges, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(checkpoint, tmp_path_factory.mktemp("int8"), precision="int8", observed=observed)


def run(content: bytes, tensor: np.ndarray) -> np.ndarray:
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], tensor)
    interpreter.invoke()
    return np.array(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))


def golden_tensor(model: ExportedModel) -> np.ndarray:
    return prepare(model.golden_image(), preprocess=model.preprocess, tensor=model.input)


def ask(program: object, tensor: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return program.module()(torch.from_numpy(tensor)).numpy()  # type: ignore[attr-defined]


def kinds(content: bytes) -> dict[str, int]:
    model = read_model(content)
    return dict(Counter(model.op_name(operator) for operator in model.operators))


def scales(model: TFLiteModel) -> set[tuple[float, int]]:
    stored = [model.stored(index) for index in range(len(model.graph.tensors)) if model.tensor(index).type == 9]
    return {(item.scale, item.zero_point or 0) for item in stored if item.scale is not None}


def test_the_census_takes_results_of_any_type(fp32: Made) -> None:
    model = read_model(fp32[2])
    model.tensor(model.operators[0].outputs[0]).type = schema.TensorType.BOOL  # as a comparison's
    assert census(model, int8=False)[0].node


def test_it_is_a_converter() -> None:
    assert isinstance(CONVERTER, Converter)


def test_fp32_answers_as_torch_does_without_a_transpose(fp32: Made) -> None:
    exported, conversion, content = fp32
    np.testing.assert_allclose(run(content, golden_tensor(exported)), exported.golden_output(), atol=1e-3)
    assert not {"TRANSPOSE", "RESHAPE", "GATHER", "DEQUANTIZE"} & set(kinds(content))
    assert (conversion.input, conversion.output) == (exported.input, exported.output)
    assert conversion.report.ops_total == sum(kinds(content).values()) - 1  # all but the CAST of the pixels


def test_input_and_output_carry_their_names(fp32: Made) -> None:
    signature = Interpreter(model_content=fp32[2]).get_signature_list()
    assert signature == {"serving_default": {"inputs": ["image"], "outputs": ["logits"]}}


def test_every_op_of_fast_scnn_but_normalisation_is_int8(int8: Made) -> None:
    _, conversion, content = int8
    found = kinds(content)
    assert found["QUANTIZE"] == 1
    assert "DEQUANTIZE" not in found
    assert Counter(item.op for item in conversion.report.fallbacks) == {"MUL": 1, "ADD": 1}
    assert conversion.report.ops_quantized == conversion.report.ops_total - 2
    assert {"CONV_2D", "DEPTHWISE_CONV_2D", "AVERAGE_POOL_2D", "RESIZE_BILINEAR", "CONCATENATION"} <= set(found)


def test_int8_answers_as_the_int8_program_does(checkpoint: Checkpoint, int8: Made) -> None:
    exported, conversion, content = int8
    output = conversion.output
    assert output.dtype == "int8"
    assert output.scale is not None
    assert output.zero_point is not None
    alike = []
    # Of an untrained net: one step of rounding goes far, on one image further than on another.
    for tensor in images(checkpoint.spec, first=50, count=8):
        stored, wanted = run(content, tensor), ask(exported.program(), tensor)
        assert stored.dtype == np.int8
        answer = (stored.astype(np.float32) - output.zero_point) * output.scale
        alike.append(np.corrcoef(answer.ravel(), wanted.ravel())[0, 1])
    assert np.mean(alike) > 0.97


def test_scales_in_the_file_are_those_of_the_ranges(int8: Made, observed: Ranges) -> None:
    # Ranges are observed at every tensor; the file uses those of the points that LiteRT's rules plan.
    observed_scales = [affine(item.low, item.high) for item in observed.ranges]
    found = scales(read_model(int8[2]))
    assert len(found) > 20
    for scale, zero_point in found:
        assert any(zero_point == zero and scale == pytest.approx(other, rel=1e-6) for other, zero in observed_scales), (
            scale
        )


def test_weights_are_int8_with_a_scale_a_channel(int8: Made) -> None:
    model = read_model(int8[2])
    for operator in model.operators:
        if model.op_name(operator) in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            weight = model.tensor(operator.inputs[1])
            assert weight.type == 9
            channels = operator.outputs[0]
            assert len(weight.quantization.scale) == model.tensor(channels).shape[3]


def test_fp16_halves_the_file_and_keeps_the_answer(fp32: Made) -> None:
    exported, _, content = fp32
    model = read_model(content)
    halve_weights(model)
    halved = write_model(model)
    assert len(halved) < 0.56 * len(content)
    difference = np.abs(run(halved, golden_tensor(exported)) - exported.golden_output())
    assert 0 < difference.max() < 0.02 * np.abs(exported.golden_output()).max()


def test_buffers_are_aligned_for_arm(fp32: Made) -> None:
    content = write_model(read_model(fp32[2]))
    for buffer in read_model(content).tree.buffers:
        if buffer.data is not None and len(buffer.data) > 64:
            assert content.index(bytes(buffer.data)) % ALIGNMENT == 0


class Swish(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.act = nn.Hardswish()
        self.second = nn.Conv2d(8, 4, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = (image.to(torch.float32) * 0.01).permute(0, 3, 1, 2)
        return self.second(self.act(self.first(x))).permute(0, 2, 3, 1)


def test_hard_swish_leaves_int8_again() -> None:
    torch.manual_seed(0)
    tensor = np.random.default_rng(0).integers(0, 256, (1, 16, 16, 3), np.uint8)
    program = torch.export.export(Swish().eval(), (torch.from_numpy(tensor),))
    graph = program.module()
    made = quantize_program(
        program, ranges=observe_points(graph, lambda: iter([tensor]), plan=plan_quantization(graph))
    )
    content = lower(made.program, shape=tensor.shape, int8=True)
    model = read_model(content)
    assert not [item for item in census(model, int8=True) if item.op == "HARD_SWISH" and item.reason]
    keep_in_float(model)
    (fallback,) = [item for item in census(model, int8=True) if item.op == "HARD_SWISH" and item.reason]
    assert "several times slower" in fallback.reason
    islands, before = write_model(model), run(content, tensor).astype(int)
    assert kinds(islands)["DEQUANTIZE"] == kinds(content).get("DEQUANTIZE", 0) + 1
    assert np.abs(run(islands, tensor).astype(int) - before).max() <= 2


class Gate(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 4, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = self.first(image.permute(0, 3, 1, 2))
        return self.second(x * torch.sigmoid(x)).permute(0, 2, 3, 1)


def test_for_an_npu_the_input_is_int8_and_a_sigmoid_stays_in_int8() -> None:
    torch.manual_seed(0)
    tensor = np.random.default_rng(0).normal(0, 1, (1, 16, 16, 3)).astype(np.float32)
    program = torch.export.export(Gate().eval(), (torch.from_numpy(tensor),))
    graph = program.module()
    made = quantize_program(
        program, ranges=observe_points(graph, lambda: iter([tensor]), plan=plan_quantization(graph))
    )
    content = lower(made.program, shape=tensor.shape, int8=True, dtype="float32")
    model = read_model(content)
    image, output = model.io()
    assert image.dtype == output.dtype == "int8"
    assert image.scale is not None
    assert output.scale is not None
    stored = np.clip(np.rint(tensor / image.scale) + (image.zero_point or 0), -128, 127).astype(np.int8)
    keep_in_float(model, islands=())
    (sigmoid,) = [item for item in model.operators if model.op_name(item) == "LOGISTIC"]
    after = model.stored(sigmoid.outputs[0])
    assert (after.dtype, after.scale, after.zero_point) == ("int8", 1 / 256, -128)
    given = (run(write_model(model), stored).astype(int) - (output.zero_point or 0)) * output.scale
    assert np.abs(given - ask(made.program, tensor)).max() <= 3 * output.scale
    assert {item.dtype for item in census(model, int8=True)} == {"int8"}


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements, "missing_modules", lambda modules: ("litert_torch",))
    with pytest.raises(MissingDependency, match=r"litert_torch is not installed.*edgeseg\[convert-tflite\]"):
        CONVERTER.check()


def test_a_program_that_litert_torch_cannot_take_is_one_clear_error(fp32: Made, tmp_path: Path) -> None:
    broken = dataclasses.replace(fp32[0], loaded={"program": object()})
    with pytest.raises(ConversionError, match="litert-torch failed"):
        CONVERTER.convert(broken, folder=tmp_path)
