"""ExecuTorch: the contract, what reaches XNNPACK and in which type, and what is read back from the file."""

from __future__ import annotations

import logging
from collections import Counter

import pytest
from contracts import tiny_artifact as tiny
from contracts.converter_contract import ConverterContract

from edgeseg.deploy.plan import plan_artifacts
from edgeseg.errors import ConversionError, UnsupportedError

pytest.importorskip("executorch", reason='ExecuTorch is not installed: pip install "edgeseg[executorch]"')

from typing import TYPE_CHECKING

from edgeseg.converters.executorch.census import NOT_FUSED, PORTABLE, census
from edgeseg.converters.executorch.lowering import lower, quiet_executorch
from edgeseg.converters.executorch.stored import Stored, read_stored
from edgeseg.converters.executorch.xnnpack_graph import Step, XnnpackGraph, XnnpackTensor, read_graph

if TYPE_CHECKING:
    from pathlib import Path

    from edgeseg.core.exported import Conversion, ExportedModel
    from edgeseg.core.protocols import Converter
    from edgeseg.core.quantization import Precision


class TestExecutorch(ConverterContract):
    format, library = "executorch", "executorch"

    def test_the_same_program_gives_the_same_bytes(self, converter: Converter, tmp_path: Path) -> None:
        for name in ("a.pte", "b.pte"):  # the small net: a whole one takes ten seconds
            tiny.write_executorch(tmp_path / name, tiny.SIZE)
        assert (tmp_path / "a.pte").read_bytes() == (tmp_path / "b.pte").read_bytes()

    def _check_answers(self, model: ExportedModel, conversion: Conversion, precision: Precision, folder: Path) -> None:
        super()._check_answers(model, conversion, precision, folder)
        stored = read_stored((folder / "model.pte").read_bytes())
        (graph,) = stored.graphs
        kinds = Counter(step.kind for step in graph.steps)
        assert not [kind for kind in kinds if kind.startswith("kind ")]
        # Only the cast of the image's bytes is left to a portable kernel.
        assert stored.kernels == ("dim_order_ops::_to_dim_order_copy",)
        dtypes = Counter(tensor.dtype for tensor in graph.tensors.values())
        if precision == "fp32":
            assert [item.op for item in conversion.report.fallbacks] == ["_to_dim_order_copy"]
            assert set(dtypes) == {"float32"}
            return
        convolutions = kinds["Conv2d"] + kinds["DepthwiseConv2d"]
        assert convolutions == dtypes["int8 per channel"] == dtypes["int32 per channel"]
        kept = {"_to_dim_order_copy", "Multiply", "Add", "StaticTranspose", "AvgPooling2d", "StaticResizeBilinear2D"}
        assert set(conversion.scheme.float_layers) == kept
        for step in graph.steps:
            if step.kind in ("Conv2d", "DepthwiseConv2d"):
                image, weight = (graph.tensors[number] for number in step.reads)
                assert image.dtype == graph.tensors[step.writes].dtype == "int8"
                assert len(weight.scales) > 1
                assert min(weight.scales) > 0


def test_half_precision_is_refused_before_any_work() -> None:
    with pytest.raises(UnsupportedError, match=r"ExecuTorch has no fp16 here\. Give --precision fp32 or int8"):
        plan_artifacts(("executorch",), precision="fp16", has_ranges=True, model="net", out=None)


def test_a_convolution_left_in_float_is_named() -> None:
    tensors = {0: XnnpackTensor(dtype="float32"), 1: XnnpackTensor(dtype="float32"), 2: XnnpackTensor(dtype="int8")}
    steps = (
        Step(kind="Conv2d", reads=(0, 1), writes=0),
        Step(kind="Convert", reads=(0,), writes=2),
        Step(kind="Add", reads=(2, 2), writes=2),
        Step(kind="kind 99", reads=(), writes=-1),
    )
    stored = Stored(kernels=("aten::argmax",), graphs=(XnnpackGraph(steps=steps, tensors=tensors),))
    counted = census(stored, int8=True)
    assert [item.unit for item in counted] == ["portable", "xnnpack", "xnnpack", "xnnpack"]
    assert [item.op for item in counted if item.is_quantized] == ["Add"]
    reasons = {item.op: item.reason for item in counted if item.reason}
    assert reasons["Conv2d"] == NOT_FUSED
    assert reasons["argmax"] == PORTABLE
    assert set(reasons) == {"argmax", "Conv2d", "kind 99"}
    assert [item.op for item in census(stored, int8=False) if item.reason] == ["argmax"]


def test_what_executorch_cannot_lower_ends_in_one_clear_error() -> None:
    with pytest.raises(ConversionError, match="ExecuTorch failed: ") as caught:
        lower(object())
    assert "\n" not in str(caught.value)


def test_a_graph_of_another_version_is_refused() -> None:
    with pytest.raises(ConversionError, match="XN99"):
        read_graph(b"\0\0\0\0XN99", constants=lambda _name: b"")


def test_no_log_handler_of_its_stays() -> None:
    before = list(logging.root.handlers)
    with quiet_executorch():
        logging.root.addHandler(logging.NullHandler())
    assert logging.root.handlers == before
