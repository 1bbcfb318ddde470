"""A float ONNX file is a model like any other: opened with a spec, proven, saved, without its softmax or argmax."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
import torch
from contracts import tiny_artifact as tiny
from deploy.foreign_files import spec, write_dynamic_onnx
from onnx import TensorProto, helper, numpy_helper

from edgeseg.core.file_io import FileRules
from edgeseg.errors import GateError, InputError, UnsupportedError
from edgeseg.models import load_checkpoint, open_model, resolve_model
from edgeseg.models.from_onnx import opening

if TYPE_CHECKING:
    from pathlib import Path

KERNEL = np.ascontiguousarray(tiny.weights()[0].transpose(0, 3, 1, 2))
BIAS = tiny.weights()[1]


def write(path: Path, nodes: list[onnx.NodeProto], *, last: bool = False, kind: int = TensorProto.FLOAT) -> Path:
    """Write a graph from "pixels" to "y", with the tiny net's weights at hand."""
    shape = [1, *tiny.SIZE, 3] if last else [1, 3, *tiny.SIZE]
    graph = helper.make_graph(
        nodes,
        "theirs",
        [helper.make_tensor_value_info("pixels", kind, shape)],
        [helper.make_tensor_value_info("y", TensorProto.INT64 if nodes[-1].op_type == "ArgMax" else TensorProto.FLOAT,
                                       None)],
        [numpy_helper.from_array(KERNEL, "kernel"), numpy_helper.from_array(BIAS, "bias"),
         numpy_helper.from_array(KERNEL[:1], "mask_kernel"), numpy_helper.from_array(BIAS[:1], "mask_bias")],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


def node(op: str, inputs: str, output: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(op, inputs.split(), [output], name=f"/{output}/{op}", **attributes)


def convolution(source: str, result: str, *, mask: bool = False) -> onnx.NodeProto:
    weights = "mask_kernel mask_bias" if mask else "kernel bias"
    return node("Conv", f"{source} {weights}", result, strides=[tiny.STRIDE] * 2)


def pixels() -> np.ndarray:
    return np.ascontiguousarray(tiny.image()[..., ::-1][None].astype(np.float32))


def logits() -> np.ndarray:
    return tiny.logits_of(pixels()).transpose(0, 3, 1, 2)


def of_net(net: torch.nn.Module) -> np.ndarray:
    with torch.no_grad():
        found: np.ndarray = net(torch.from_numpy(pixels().transpose(0, 3, 1, 2).copy())).numpy()
    return found


@pytest.fixture(scope="module")
def softmaxed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "theirs.onnx"
    write_dynamic_onnx(path)
    return path


def test_a_softmax_is_cut_off_and_the_checkpoint_opens_without_the_file(softmaxed: Path) -> None:
    made = open_model(softmaxed, spec=spec(file=FileRules(output="shares")))
    assert (made.spec.size, made.spec.output_stride) == (tiny.SIZE, tiny.STRIDE)
    np.testing.assert_allclose(of_net(made.net), logits(), atol=1e-4)
    softmaxed_again = load_checkpoint(made.folder)
    np.testing.assert_array_equal(of_net(softmaxed_again.net), of_net(made.net))


def test_another_size_is_that_of_the_import(softmaxed: Path) -> None:
    made = open_model(softmaxed, spec=spec(file=FileRules(output="shares")), size=(32, 64))
    assert made.spec.size == (32, 64)


def test_labels_of_a_channels_last_file_of_bytes_become_logits(tmp_path: Path) -> None:
    nodes = [
        node("Cast", "pixels", "real", to=TensorProto.FLOAT),
        node("Transpose", "real", "planes", perm=[0, 3, 1, 2]),
        convolution("planes", "logits"),
        node("Transpose", "logits", "last", perm=[0, 2, 3, 1]),
        node("Softmax", "last", "shares", axis=-1),
        node("ArgMax", "shares", "y", axis=3, keepdims=0),
    ]
    path = write(tmp_path / "labels.onnx", nodes, last=True, kind=TensorProto.UINT8)
    made = open_model(path, spec=spec())
    np.testing.assert_allclose(of_net(made.net), logits(), atol=1e-4)
    assert [step.kind for step in made.net.steps] == ["conv"]
    assert (made.spec.preprocess.scale, made.spec.preprocess.in_graph) == (1.0, True)


@pytest.mark.parametrize("threshold", [0.5, 0.7])
def test_a_mask_of_one_channel_becomes_two_classes(tmp_path: Path, threshold: float) -> None:
    path = write(tmp_path / "mask.onnx", [convolution("pixels", "z", mask=True), node("Sigmoid", "z", "y")])
    said = spec(classes=("other", "thing"), file=FileRules(threshold=threshold))
    found = of_net(open_model(path, spec=said).net)
    assert found.shape[1] == 2
    share = 1 / (1 + np.exp(-logits()[:, 0]))
    np.testing.assert_array_equal(found.argmax(1), share > threshold)


def test_channels_that_the_spec_leaves_out_are_dropped(tmp_path: Path) -> None:
    path = write(tmp_path / "more.onnx", [convolution("pixels", "y")])
    made = open_model(path, spec=spec(classes=("road", "building"), file=FileRules(ids=(2, 1))))
    np.testing.assert_allclose(of_net(made.net), logits()[:, [2, 1]], atol=1e-4)


def test_a_net_that_differs_from_its_file_is_refused(softmaxed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = opening.import_graph

    def wrong(*arguments: object, **options: object) -> torch.nn.Module:
        net = real(*arguments, **options)  # type: ignore[arg-type]
        with torch.no_grad():
            next(net.parameters()).mul_(1.01)
        return net

    monkeypatch.setattr(opening, "import_graph", wrong)
    with pytest.raises(GateError, match=r"% of the numbers equal those of ONNX Runtime"):
        open_model(softmaxed, spec=spec(file=FileRules(output="shares")))


def test_labels_without_logits_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "labels.onnx", [convolution("pixels", "z", mask=True), node("Round", "z", "y")])
    with pytest.raises(UnsupportedError, match="are not an argmax"):
        open_model(path, spec=spec(classes=tuple("abcdefgh"), file=FileRules(values="labels", ids=tuple(range(8)))))


def test_a_missing_spec_and_other_model_files_are_one_line(softmaxed: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"classes, input size and preprocessing are not known"):
        open_model(softmaxed)
    with pytest.raises(InputError, match=r"Omit --weights"):
        open_model(softmaxed, weights="w.pth", spec=spec())
    (tmp_path / "net.tflite").write_bytes(b"")
    with pytest.raises(InputError, match=r"only float ONNX .*edgeseg adopt"):
        resolve_model(str(tmp_path / "net.tflite"))


def test_the_size_of_a_spec_is_the_files(tmp_path: Path) -> None:
    path = write(tmp_path / "fixed.onnx", [convolution("pixels", "y")])
    with pytest.raises(InputError, match="fixed in the file"):
        open_model(path, spec=dataclasses.replace(spec(), size=(32, 32)))
