"""ncnn against the converters' contract, and what it does not have."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest
from contracts.converter_contract import ConverterContract, exported

from edgeseg.converters.ncnn import CONVERTER
from edgeseg.converters.ncnn.convert import layers_of
from edgeseg.deploy.plan import plan_artifacts
from edgeseg.errors import ConversionError, UnsupportedError

if TYPE_CHECKING:
    from pathlib import Path


class TestNcnn(ConverterContract):
    format, library = "ncnn", "ncnn"


def test_int8_and_a_head_with_labels_are_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"ncnn has no int8 here\. Give --precision fp32 or fp16"):
        plan_artifacts(("ncnn",), precision="int8", has_ranges=True, model="net", out=None)
    model = exported("fp32")
    labels = dataclasses.replace(model, output=dataclasses.replace(model.output, role="labels"))
    with pytest.raises(UnsupportedError, match="--output logits"):
        CONVERTER.convert(labels, folder=tmp_path)


@pytest.mark.slow
def test_fp16_halves_the_weights(tmp_path: Path) -> None:
    sizes = {}
    for precision in ("fp32", "fp16"):
        (tmp_path / precision).mkdir()
        CONVERTER.convert(exported(precision), folder=tmp_path / precision)
        sizes[precision] = (tmp_path / precision / "model.ncnn.bin").stat().st_size
    assert sizes["fp16"] < 0.6 * sizes["fp32"]


def test_a_layer_that_ncnn_lacks_is_one_line_with_the_log(tmp_path: Path) -> None:
    import onnx

    model = exported("fp32")
    graph = onnx.load(model.onnx)
    next(node for node in graph.graph.node if node.op_type == "Relu").op_type = "Det"
    path = tmp_path / "model.onnx"
    path.write_bytes(graph.SerializeToString())
    broken = dataclasses.replace(model, folder=tmp_path)
    folder = tmp_path / "out"
    folder.mkdir()
    with pytest.raises(ConversionError, match=r"pnnx failed.*pnnx-\w+\.log") as caught:
        CONVERTER.convert(broken, folder=folder)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "logs").exists()


def test_another_file_is_no_param_file(tmp_path: Path) -> None:
    (tmp_path / "a.param").write_text("hello\n")
    with pytest.raises(ConversionError, match="7767517"):
        layers_of(tmp_path / "a.param")
