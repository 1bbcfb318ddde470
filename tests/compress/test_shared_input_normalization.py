"""One mean and deviation for an image's three channels: the same answers, and bytes that are int8 as they are."""

from __future__ import annotations

import copy
import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
import torch
from contracts.deployable import deployable, images, ranges
from torch import nn

from edgeseg.compress.quantize.fake_quant_net import quant_net
from edgeseg.compress.quantize.recipe import QatRecipe
from edgeseg.compress.quantize.shared_input_normalization import share_normalisation
from edgeseg.converters.onnx import CONVERTER as ONNX
from edgeseg.converters.openvino import CONVERTER as OPENVINO
from edgeseg.core.openvino_core import openvino_core
from edgeseg.core.spec import Preprocess
from edgeseg.errors import InputError
from edgeseg.export import export
from edgeseg.graph.quantization_points import IMAGE
from edgeseg.train.evaluate import normalise

if TYPE_CHECKING:
    from pathlib import Path

    from edgeseg.core.exported import ExportedModel
    from edgeseg.models.checkpoint import Checkpoint

NORMALISING = {"Cast", "Mul", "Add", "Sub", "Div"}


@pytest.fixture(scope="module")
def shared() -> Checkpoint:
    checkpoint = deployable()
    spec = share_normalisation(checkpoint.net, spec=checkpoint.spec)
    return dataclasses.replace(checkpoint, spec=spec)


@pytest.fixture(scope="module")
def made(shared: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> ExportedModel:
    return export(shared, precision="int8", ranges=ranges(shared), folder=tmp_path_factory.mktemp("exported"))


def test_ends_are_given_only_where_every_step_is_a_byte() -> None:
    assert Preprocess().byte_ends is None
    assert Preprocess(mean=(0.5,) * 3, std=(0.5,) * 3).byte_ends is None  # 127.5 is no byte
    assert Preprocess(mean=(2.0,) * 3, std=(0.5,) * 3).byte_ends is None
    assert Preprocess(mean=(0.4,) * 3, std=(0.2,) * 3).byte_ends == pytest.approx((-2.0, 3.0))
    assert Preprocess(mean=(100.0,) * 3, std=(1.0,) * 3, scale=1.0).byte_ends == (-100.0, 155.0)


@pytest.mark.parametrize("norm", [True, False])
def test_without_padding_the_answers_stay(norm: bool) -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, bias=not norm), *([nn.BatchNorm2d(8)] if norm else []), nn.ReLU(), nn.Conv2d(8, 2, 1)]
    net = nn.Sequential(*layers).eval()
    before, old = copy.deepcopy(net), deployable(size=(32, 32)).spec
    new = share_normalisation(net, spec=old)
    pixels = torch.randint(0, 256, (2, 3, 32, 32)).float()
    with torch.no_grad():
        torch.testing.assert_close(net(normalise(pixels, spec=new)), before(normalise(pixels, spec=old)))
    assert new.preprocess.byte_ends is not None
    assert share_normalisation(net, spec=new) == new


def test_with_padding_only_the_border_differs() -> None:
    checkpoint = deployable(size=(192, 192))
    pixels = torch.randint(0, 256, (1, 3, 192, 192)).float()
    stem = checkpoint.net.downsample
    with torch.no_grad():
        before = stem(normalise(pixels, spec=checkpoint.spec))
        spec = share_normalisation(checkpoint.net, spec=checkpoint.spec)
        after = stem(normalise(pixels, spec=spec))
    change = (after - before).abs()
    assert change[..., 2:-2, 2:-2].max() < 1e-4 * before.abs().max()
    assert 1e-4 * before.abs().max() < change.max() < 0.2 * before.abs().max()


@pytest.mark.parametrize("first", [nn.AvgPool2d(2), nn.Conv2d(3, 3, 3, groups=3)], ids=["pool", "depthwise"])
def test_a_net_that_reads_its_image_otherwise_is_refused(first: nn.Module) -> None:
    net = nn.Sequential(first, nn.Conv2d(3, 2, 1)).eval()
    with pytest.raises(InputError, match="read by something other than convolutions"):
        share_normalisation(net, spec=deployable(size=(32, 32)).spec)


def test_training_leaves_the_bytes_range_alone(shared: Checkpoint) -> None:
    observed = ranges(shared).ranges
    for mode in ("learned", "ema"):
        net = quant_net(
            shared.net, size=(64, 96), ranges=observed, recipe=QatRecipe(mode=mode), still=frozenset({IMAGE})
        ).train()
        before = net.ranges()
        step = torch.optim.SGD(net.parameters(), lr=0.1)
        net(3 * torch.randn(2, 3, 64, 96)).square().mean().backward()
        step.step()
        after = net.ranges()
        assert after[IMAGE] == before[IMAGE] == pytest.approx(shared.spec.preprocess.byte_ends)
        assert sum(after[name] != before[name] for name in after) > 10


def test_onnx_runtime_and_openvino_take_the_bytes_as_they_are(made: ExportedModel, tmp_path: Path) -> None:
    ONNX.convert(made, folder=tmp_path)
    OPENVINO.convert(made, folder=tmp_path)
    graph = onnx.load(tmp_path / "model.onnx").graph
    (first,) = [node for node in graph.node if graph.input[0].name in node.input]
    (second,) = [node for node in graph.node if first.output[0] in node.input]
    assert (first.op_type, second.op_type) == ("Transpose", "DequantizeLinear")
    found = openvino_core().compile_model(str(tmp_path / "model.xml"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    kinds = [node.get_rt_info()["layerType"].astype(str) for node in found.get_runtime_model().get_ordered_ops()]
    before = kinds[: next(index for index, kind in enumerate(kinds) if kind == "Convolution")]
    assert set(before) <= {"Input", "Const", "Reorder", "Reshape", "Transpose"}


def test_the_bytes_mean_what_the_normalised_image_meant(
    made: ExportedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "float").mkdir()
    ONNX.convert(made, folder=tmp_path)
    monkeypatch.setattr("edgeseg.converters.onnx.qdq._take_bytes", lambda editor: None)
    ONNX.convert(made, folder=tmp_path / "float")
    assert (tmp_path / "float" / "model.onnx").read_bytes() != (tmp_path / "model.onnx").read_bytes()
    for tensor in images(made.spec, first=9, count=2):
        answers = [run(folder / "model.onnx", tensor) for folder in (tmp_path, tmp_path / "float")]
        np.testing.assert_array_equal(*answers)


def run(path: Path, tensor: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: tensor})[0]


def test_another_normalisation_is_computed_as_before(tmp_path: Path) -> None:
    checkpoint = deployable()
    made = export(checkpoint, precision="int8", ranges=ranges(checkpoint), folder=tmp_path / "work")
    ONNX.convert(made, folder=tmp_path)
    graph = onnx.load(tmp_path / "model.onnx").graph
    assert {"Cast", "Mul", "Add"} <= {node.op_type for node in graph.node}
