"""The deployment graph answers as the net does, in torch and in ONNX, in float and in int8."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from contracts.deployable import deployable, images, ranges

from edgeseg.core.quantization import Range, Ranges
from edgeseg.errors import CheckpointError, InputError, UnknownName, UnsupportedError
from edgeseg.export import export
from edgeseg.export.export import deploy, export_program
from edgeseg.export.quantizing import KnownRanges, points_of, quantize, stored
from edgeseg.export.reference import TorchReference
from edgeseg.graph import scale_limits
from edgeseg.graph.quantization_points import plan, point_names

if TYPE_CHECKING:
    from pathlib import Path

    from edgeseg.core.exported import ExportedModel
    from edgeseg.models.checkpoint import Checkpoint


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return deployable()


@pytest.fixture(scope="module")
def observed(checkpoint: Checkpoint) -> Ranges:
    return ranges(checkpoint)


@pytest.fixture(scope="module")
def float_model(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> ExportedModel:
    return export(checkpoint, precision="fp32", workdir=tmp_path_factory.mktemp("float"))


@pytest.fixture(scope="module")
def int8_model(checkpoint: Checkpoint, observed: Ranges, tmp_path_factory: pytest.TempPathFactory) -> ExportedModel:
    return export(checkpoint, precision="int8", ranges=observed, workdir=tmp_path_factory.mktemp("int8"))


def ask(program: object, tensor: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return program.module()(torch.from_numpy(tensor)).numpy()  # type: ignore[attr-defined]


def sqnr_db(wanted: np.ndarray, got: np.ndarray) -> float:
    return float(10 * np.log10(np.square(wanted).sum() / np.square(wanted - got).sum()))


def onnx_ops(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(path).graph.node)


def test_the_graph_takes_pixels_and_gives_the_nets_logits(checkpoint: Checkpoint, float_model: ExportedModel) -> None:
    preprocess = checkpoint.spec.preprocess
    pixels = torch.from_numpy(float_model.golden_image).float() * preprocess.scale
    normalised = (pixels - torch.tensor(preprocess.mean)) / torch.tensor(preprocess.std)
    with torch.no_grad():
        wanted = checkpoint.net(normalised.permute(2, 0, 1)[None]).permute(0, 2, 3, 1).numpy()
    assert float_model.input.shape == (1, 64, 96, 3)
    assert float_model.output.shape == wanted.shape == (1, 8, 12, 11)
    np.testing.assert_allclose(float_model.golden_output, wanted, atol=1e-3)
    np.testing.assert_allclose(ask(float_model.program, float_model.golden_image[None]), wanted, atol=1e-3)


def test_onnx_answers_as_torch_does_and_holds_no_batch_norm(float_model: ExportedModel) -> None:
    session = onnxruntime.InferenceSession(float_model.onnx)
    (answer,) = session.run(["logits"], {"image": float_model.golden_image[None]})
    np.testing.assert_allclose(answer, float_model.golden_output, atol=1e-3)
    kinds = onnx_ops(float_model.onnx)
    assert kinds["BatchNormalization"] == 0
    assert kinds["Dropout"] == 0
    assert {opset.version for opset in onnx.load(float_model.onnx).opset_import if opset.domain == ""} == {20}


def test_labels_are_the_logits_best_class(checkpoint: Checkpoint, float_model: ExportedModel, tmp_path: Path) -> None:
    labels = export(checkpoint, precision="fp32", output="labels", workdir=tmp_path, onnx=False)
    assert labels.output.layout == "NHW"
    assert labels.golden_output.dtype == np.int32
    np.testing.assert_array_equal(labels.golden_output, float_model.golden_output.argmax(-1))
    assert not labels.onnx.exists()


def test_int8_stays_near_float_and_folding_changes_nothing(
    float_model: ExportedModel, int8_model: ExportedModel
) -> None:
    tensor = images(float_model.spec, first=50, count=1)[0]
    answer = ask(int8_model.program, tensor)
    assert sqnr_db(ask(float_model.program, tensor), answer) > 8.0  # untrained weights amplify every rounding
    np.testing.assert_allclose(ask(int8_model.folded_program, tensor), answer, atol=1e-4)


def test_int8_onnx_stores_int8_weights_with_a_scale_a_channel(int8_model: ExportedModel) -> None:
    graph = onnx.load(int8_model.onnx).graph
    stored = {item.name: item for item in graph.initializer}
    weights = [item for item in stored.values() if item.data_type == onnx.TensorProto.INT8 and len(item.dims) == 4]
    assert len(weights) == onnx_ops(int8_model.onnx)["Conv"]
    pairs = {node.input[0]: node for node in graph.node if node.op_type == "DequantizeLinear"}
    assert all(list(stored[pairs[item.name].input[1]].dims) == [item.dims[0]] for item in weights)


def test_ranges_made_at_one_size_serve_another(checkpoint: Checkpoint, observed: Ranges, tmp_path: Path) -> None:
    larger = export(checkpoint, size=(96, 128), precision="int8", ranges=observed, workdir=tmp_path, onnx=False)
    assert larger.spec.size == (96, 128)
    assert ask(larger.program, larger.golden_image[None]).shape == (1, 12, 16, 11)


def test_hard_swish_is_left_in_float_by_plan(tmp_path: Path) -> None:
    source = deployable("lraspp_mobilenet_v3_small")
    model = export(source, precision="int8", ranges=ranges(source), workdir=tmp_path, onnx=False)
    kept = [name for name in model.scheme.float_layers if name.endswith(":hardswish")]
    assert len(kept) == 18
    assert not [name for name in model.scheme.float_layers if name.endswith(":conv2d")]


def test_ranges_of_other_weights_are_refused(checkpoint: Checkpoint, observed: Ranges, tmp_path: Path) -> None:
    foreign = dataclasses.replace(observed, weights_sha256="77" * 32)
    with pytest.raises(CheckpointError, match=r"777777777777.*edgeseg calibrate"):
        export(checkpoint, precision="int8", ranges=foreign, workdir=tmp_path)


def test_ranges_that_lack_a_point_are_refused_by_name(checkpoint: Checkpoint, observed: Ranges, tmp_path: Path) -> None:
    short = dataclasses.replace(observed, ranges=observed.ranges[1:])
    with pytest.raises(
        CheckpointError, match=rf"1 of 49 points of this net are missing, first {observed.ranges[0].name}"
    ):
        export(checkpoint, precision="int8", ranges=short, workdir=tmp_path)


def test_int8_without_ranges_says_how_to_get_them(checkpoint: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--calibration DIR"):
        export(checkpoint, precision="int8", workdir=tmp_path)


def test_a_host_that_normalises_is_refused(checkpoint: Checkpoint, tmp_path: Path) -> None:
    host = dataclasses.replace(checkpoint.spec.preprocess, in_graph=False)
    foreign = dataclasses.replace(checkpoint, spec=dataclasses.replace(checkpoint.spec, preprocess=host))
    with pytest.raises(UnsupportedError, match="in_graph = true"):
        export(foreign, precision="fp32", workdir=tmp_path)


def test_the_reference_segments_at_the_images_own_size(checkpoint: Checkpoint) -> None:
    image = np.zeros((50, 70, 3), np.uint8)
    labels = TorchReference(checkpoint).segment(image)
    assert labels.shape == (50, 70)
    assert labels.dtype == np.uint8


def test_layers_that_are_named_stay_in_float(checkpoint: Checkpoint, observed: Ranges) -> None:
    program = export_program(deploy(checkpoint, spec=checkpoint.spec, output="logits"), spec=checkpoint.spec)
    whole = plan(program.module())
    layer = point_names(whole.weighted)[whole.weighted[3]].split(":")[0]
    fewer = quantize(program, ranges=observed.ranges, float_layers=(layer,)).plan
    assert len(fewer.weighted) == len(whole.weighted) - 1
    assert f"{layer}:conv2d" in fewer.in_float
    with pytest.raises(UnknownName, match="Unknown layer to keep in float"):
        quantize(program, ranges=observed.ranges, float_layers=("net.no_such_layer",))


def test_dead_outputs_leave_every_multiplier_and_bias_where_kernels_can_hold_them(checkpoint: Checkpoint) -> None:
    graph = export_program(deploy(checkpoint, spec=checkpoint.spec, output="logits"), spec=checkpoint.spec).module()
    found = plan(graph)
    dead = tuple(Range(name=point.name, low=0.0, high=0.0) for point in found.points)
    specs, around = KnownRanges(graph, found, dead), points_of(found)
    for node in found.weighted:
        source, target = (specs.scales[name] for name in around[node])
        weight, bias = (stored(graph, argument) for argument in node.args[1:3])
        least = specs.least_scales(node)
        assert source * float(weight.abs().max()) / 127 / target <= scale_limits.LARGEST_FACTOR * 1.001
        assert float((source * least / target).min()) >= scale_limits.LEAST_FACTOR * 0.999
        assert float((bias.abs() / (source * least)).max()) <= scale_limits.LARGEST_BIAS * 1.001
