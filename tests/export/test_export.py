"""The deployment graph answers as the net does, in torch and in ONNX, in float and in int8."""

from __future__ import annotations

import copy
import dataclasses
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from contracts.deployable import deployable, images, ranges

from edgeseg.core.exported import ExportedModel
from edgeseg.core.quantization import INT8, SCHEMES
from edgeseg.data import render_street
from edgeseg.errors import CheckpointError, ConversionError, InputError, UnsupportedError
from edgeseg.export import calibrate_ranges, export
from edgeseg.export.reference import TorchReference
from edgeseg.pixels import prepare

if TYPE_CHECKING:
    from pathlib import Path

    from edgeseg.core.protocols import Normalisation
    from edgeseg.core.quantization import Ranges
    from edgeseg.models.checkpoint import Checkpoint


NORMALISATIONS: tuple[Normalisation, ...] = ("graph", "host")


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return deployable()


@pytest.fixture(scope="module")
def observed(checkpoint: Checkpoint) -> Ranges:
    return ranges(checkpoint)


@pytest.fixture(scope="module")
def float_model(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> ExportedModel:
    return export(checkpoint, precision="fp32", folder=tmp_path_factory.mktemp("float"))


@pytest.fixture(scope="module")
def int8_model(checkpoint: Checkpoint, observed: Ranges, tmp_path_factory: pytest.TempPathFactory) -> ExportedModel:
    return export(checkpoint, precision="int8", ranges=observed, folder=tmp_path_factory.mktemp("int8"))


def golden_tensor(model: ExportedModel) -> np.ndarray:
    return prepare(model.golden_image(), preprocess=model.preprocess, tensor=model.input)


def ask(program: object, tensor: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return program.module()(torch.from_numpy(tensor)).numpy()  # type: ignore[attr-defined]


def sqnr_db(wanted: np.ndarray, got: np.ndarray) -> float:
    return float(10 * np.log10(np.square(wanted).sum() / np.square(wanted - got).sum()))


def onnx_ops(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(path).graph.node)


def test_the_graph_takes_pixels_and_gives_the_nets_logits(checkpoint: Checkpoint, float_model: ExportedModel) -> None:
    preprocess = checkpoint.spec.preprocess
    pixels = torch.from_numpy(golden_tensor(float_model)[0]).float() * preprocess.scale
    normalised = (pixels - torch.tensor(preprocess.mean)) / torch.tensor(preprocess.std)
    with torch.no_grad():
        wanted = checkpoint.net(normalised.permute(2, 0, 1)[None]).permute(0, 2, 3, 1).numpy()
    assert float_model.input.shape == (1, 64, 96, 3)
    assert float_model.output.shape == wanted.shape == (1, 8, 12, 11)
    np.testing.assert_allclose(float_model.golden_output(), wanted, atol=1e-3)
    np.testing.assert_allclose(ask(float_model.program(), golden_tensor(float_model)), wanted, atol=1e-3)


def test_onnx_answers_as_torch_does_and_holds_no_batch_norm(float_model: ExportedModel) -> None:
    session = onnxruntime.InferenceSession(float_model.onnx)
    (answer,) = session.run(["logits"], {"image": golden_tensor(float_model)})
    np.testing.assert_allclose(answer, float_model.golden_output(), atol=1e-3)
    kinds = onnx_ops(float_model.onnx)
    assert kinds["BatchNormalization"] == 0
    assert kinds["Dropout"] == 0
    assert {opset.version for opset in onnx.load(float_model.onnx).opset_import if opset.domain == ""} == {20}


def test_labels_are_the_logits_best_class(checkpoint: Checkpoint, float_model: ExportedModel, tmp_path: Path) -> None:
    labels = export(checkpoint, precision="fp32", output="labels", folder=tmp_path)
    assert labels.output.layout == "NHW"
    assert labels.golden_output().dtype == np.int32
    np.testing.assert_array_equal(labels.golden_output(), float_model.golden_output().argmax(-1))
    assert not (tmp_path / "model.onnx").exists()  # nobody read it


def test_int8_stays_near_float_and_folding_changes_nothing(
    float_model: ExportedModel, int8_model: ExportedModel
) -> None:
    tensor = images(float_model.spec, first=50, count=1)[0]
    answer = ask(int8_model.program(), tensor)
    assert sqnr_db(ask(float_model.program(), tensor), answer) > 8.0  # untrained weights amplify every rounding
    np.testing.assert_allclose(ask(int8_model.folded_program(), tensor), answer, atol=1e-4)


def test_int8_onnx_stores_int8_weights_with_a_scale_a_channel(int8_model: ExportedModel) -> None:
    graph = onnx.load(int8_model.onnx).graph
    stored = {item.name: item for item in graph.initializer}
    weights = [item for item in stored.values() if item.data_type == onnx.TensorProto.INT8 and len(item.dims) == 4]
    assert len(weights) == onnx_ops(int8_model.onnx)["Conv"]
    pairs = {node.input[0]: node for node in graph.node if node.op_type == "DequantizeLinear"}
    assert all(list(stored[pairs[item.name].input[1]].dims) == [item.dims[0]] for item in weights)


def test_ranges_made_at_one_size_serve_another(checkpoint: Checkpoint, observed: Ranges, tmp_path: Path) -> None:
    larger = export(checkpoint, size=(96, 128), precision="int8", ranges=observed, folder=tmp_path)
    assert larger.spec.size == (96, 128)
    assert ask(larger.program(), golden_tensor(larger)).shape == (1, 12, 16, 11)


def test_hard_swish_is_left_in_float_by_plan(tmp_path: Path) -> None:
    source = deployable("lraspp_mobilenet_v3_small")
    model = export(source, precision="int8", ranges=ranges(source), folder=tmp_path)
    kept = [name for name in model.scheme.float_layers if name.endswith(":hardswish")]
    assert len(kept) == 18
    assert not [name for name in model.scheme.float_layers if name.endswith(":conv2d")]


def test_ranges_of_other_weights_are_refused(checkpoint: Checkpoint, observed: Ranges, tmp_path: Path) -> None:
    foreign = dataclasses.replace(observed, weights_sha256="77" * 32)
    with pytest.raises(CheckpointError, match=r"777777777777.*edgeseg calibrate"):
        export(checkpoint, precision="int8", ranges=foreign, folder=tmp_path)


def test_ranges_that_lack_a_point_are_refused_by_name(checkpoint: Checkpoint, observed: Ranges, tmp_path: Path) -> None:
    short = dataclasses.replace(observed, ranges=observed.ranges[1:])
    with pytest.raises(
        CheckpointError, match=rf"1 of 49 points of this net are missing, first {observed.ranges[0].name}"
    ):
        export(checkpoint, precision="int8", ranges=short, folder=tmp_path)


def test_int8_without_ranges_says_how_to_get_them(checkpoint: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--calibration DIR"):
        export(checkpoint, precision="int8", folder=tmp_path)


def test_a_host_that_normalises_gives_the_graph_floats(
    checkpoint: Checkpoint, float_model: ExportedModel, tmp_path: Path
) -> None:
    model = export(checkpoint, precision="fp32", folder=tmp_path, normalisation="host")
    assert (model.input.dtype, model.preprocess.in_graph) == ("float32", False)
    given = ask(model.program(), golden_tensor(model))
    np.testing.assert_allclose(given, float_model.golden_output(), atol=1e-3)


def test_ranges_fit_the_graph_without_normalisation(checkpoint: Checkpoint, observed: Ranges, tmp_path: Path) -> None:
    made = [
        export(checkpoint, precision="int8", ranges=observed, folder=tmp_path / side, normalisation=side)
        for side in NORMALISATIONS
    ]
    given = [ask(model.program(), golden_tensor(model)) for model in made]
    assert np.mean(given[0].argmax(-1) == given[1].argmax(-1)) > 0.95


def test_a_spec_that_normalises_on_the_host_calibrates_and_answers_all_the_same(checkpoint: Checkpoint) -> None:
    host = dataclasses.replace(checkpoint.spec.preprocess, in_graph=False)
    outside = dataclasses.replace(checkpoint, spec=dataclasses.replace(checkpoint.spec, preprocess=host))
    image = render_street(9)[0]
    wanted = TorchReference(checkpoint).segment(image)
    np.testing.assert_array_equal(TorchReference(outside).segment(image), wanted)
    assert (
        calibrate_ranges(outside, "streets:2", count=2).ranges.ranges
        == calibrate_ranges(checkpoint, "streets:2", count=2).ranges.ranges
    )


def test_weights_other_than_int8_with_integer_activations_are_refused(
    checkpoint: Checkpoint, observed: Ranges, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    narrow = dataclasses.replace(INT8, name="a8w4", weights="int4 symmetric per-channel")
    monkeypatch.setitem(SCHEMES, "a8w4", narrow)
    with pytest.raises(UnsupportedError, match="int8 here, not to a8w4"):
        export(checkpoint, precision="a8w4", ranges=observed, folder=tmp_path)


def test_another_process_opens_the_folder_and_gets_the_golden_output(int8_model: ExportedModel) -> None:
    int8_model.write_all(("program", "folded", "onnx"))
    code = f"""
import sys
from edgeseg.core.exported import ExportedModel
model = ExportedModel.open({str(int8_model.folder)!r})
assert "torch" not in sys.modules, "torch is imported before a program is read"
import numpy as np, torch
from edgeseg.pixels import prepare
tensor = torch.from_numpy(prepare(model.golden_image(), preprocess=model.preprocess, tensor=model.input))
with torch.no_grad():
    outputs = [program.module()(tensor).numpy() for program in (model.program(), model.folded_program())]
assert np.abs(outputs[0] - outputs[1]).max() < 1e-4
assert outputs[0].shape == model.golden_output().shape
print(model.scheme.name, model.onnx.name, len(model.ranges().ranges), model.calibration_images().shape)
np.save({str(int8_model.folder / "given.npy")!r}, outputs[0])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    ranges = int8_model.ranges()
    assert ranges is not None
    count = len(ranges.ranges)
    assert done.stdout.split() == ["int8", "model.onnx", str(count), "(0,", "64,", "96,", "3)"]
    here = ask(int8_model.program(), golden_tensor(int8_model))
    np.testing.assert_allclose(np.load(int8_model.folder / "given.npy"), here, atol=1e-4)


def test_calibration_images_are_stored_at_the_inputs_size(checkpoint: Checkpoint, tmp_path: Path) -> None:
    photos = [render_street(seed)[0] for seed in range(3)]
    model = export(checkpoint, precision="fp32", folder=tmp_path, calibration=lambda: iter(photos))
    stored = model.calibration_images()
    assert (stored.shape, stored.dtype) == ((3, 64, 96, 3), np.dtype(np.uint8))
    wanted = prepare(photos[1], preprocess=model.preprocess, tensor=model.input)[0]
    np.testing.assert_array_equal(stored[1], wanted)


def test_a_folder_that_is_no_exported_model_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"not an exported model: .*exported\.json"):
        ExportedModel.open(tmp_path)


def test_a_part_that_was_not_exported_is_named(float_model: ExportedModel) -> None:
    with pytest.raises(ConversionError, match=r"program\.pt2: missing"):
        ExportedModel.open(float_model.folder).program()


def test_logits_that_are_no_numbers_are_not_labels() -> None:
    checkpoint = deployable()
    net = copy.deepcopy(checkpoint.net)
    with torch.no_grad():
        next(iter(net.parameters())).fill_(float("inf"))
    broken = TorchReference(dataclasses.replace(checkpoint, net=net))
    with pytest.raises(CheckpointError, match="small: its logits hold NaN or infinity"):
        broken.segment(np.zeros((64, 96, 3), np.uint8))
