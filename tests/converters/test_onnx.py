"""ONNX: the contract, what the file holds, and what ONNX Runtime fuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from contracts.converter_contract import ConverterContract
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import GraphOptimizationLevel

from edgeseg.converters.onnx.clean import clean
from edgeseg.converters.onnx.executed import executed_graph
from edgeseg.converters.onnx.half import halve_weights
from edgeseg.converters.onnx.qdq import fit_for_onnxruntime
from edgeseg.errors import ConversionError
from edgeseg.runtime.engines.onnxruntime import inference_session

if TYPE_CHECKING:
    from pathlib import Path


class TestOnnx(ConverterContract):
    format, library = "onnx", "onnx"


def quantized_convolution() -> onnx.ModelProto:
    """Return pixels -> Q -> DQ -> Q -> DQ -> Conv -> Q -> DQ as PT2E exports it: int8 activations, a float bias."""
    random = np.random.default_rng(0)
    constants = {
        "weights": random.integers(-127, 128, (4, 3, 3, 3)).astype(np.int8),
        "weight_scale": np.full(4, 0.01, np.float32),
        "weight_zero": np.zeros(4, np.int8),
        "scale": np.array(0.02, np.float32),
        "zero": np.array(-3, np.int8),
        "bias": random.normal(size=4).astype(np.float32),
    }
    nodes = [
        helper.make_node("DequantizeLinear", ["weights", "weight_scale", "weight_zero"], ["w"], name="dw", axis=0),
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q1"], name="n1"),
        helper.make_node("DequantizeLinear", ["q1", "scale", "zero"], ["d1"], name="n2"),
        helper.make_node("QuantizeLinear", ["d1", "scale", "zero"], ["q2"], name="n3"),
        helper.make_node("DequantizeLinear", ["q2", "scale", "zero"], ["d2"], name="n4"),
        helper.make_node("Conv", ["d2", "w", "bias"], ["c"], name="conv"),
        helper.make_node("QuantizeLinear", ["c", "scale", "zero"], ["q3"], name="n5"),
        helper.make_node("DequantizeLinear", ["q3", "scale", "zero"], ["y"], name="n6", doc_string="File a.py"),
    ]
    graph = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 6, 6])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def test_the_rewritten_graph_gives_the_same_numbers_and_fuses_whole(tmp_path: Path) -> None:
    model = quantized_convolution()
    x = np.random.default_rng(1).normal(size=(1, 3, 8, 8)).astype(np.float32)
    before = run(model, x)
    fit_for_onnxruntime(model)
    after = run(model, x)
    assert np.abs(after - before).max() <= 0.02 + 1e-6  # one step: the bias is rounded
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("QuantizeLinear") == 2
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    activations = [stored[node.input[2]] for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert {(value.dtype.name, int(value)) for value in activations} == {("uint8", 125)}
    assert stored["weights"].dtype == np.int8
    onnx.save(model, tmp_path / "model.onnx")
    found = executed_graph(tmp_path / "model.onnx", int8=True)
    assert sum(item.is_quantized for item in found) >= 1
    assert not [item for item in found if item.reason]


def test_large_sums_do_not_overflow_on_any_cpu() -> None:
    """Pairs of 255 * 127 do not fit into 16 bits, which ONNX Runtime's kernels add up in on x86 CPUs without VNNI."""
    random = np.random.default_rng(0)
    first = np.full((8, 8, 3, 3), 127, np.int8)
    second = random.integers(100, 128, (8, 8, 3, 3)).astype(np.int8)
    constants = {
        "first": first, "second": second, "weight_scale": np.full(8, 1e-3, np.float32),
        "weight_zero": np.zeros(8, np.int8), "scale": np.array(0.02, np.float32), "zero": np.array(-128, np.int8),
        "wide": np.array(1.0, np.float32),
    }  # fmt: skip
    nodes = [helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q0"], name="n0")]
    nodes.append(helper.make_node("DequantizeLinear", ["q0", "scale", "zero"], ["d0"], name="n1"))
    for index, weights in enumerate(("first", "second")):
        pair = [weights, "weight_scale", "weight_zero"]
        nodes.append(helper.make_node("DequantizeLinear", pair, [f"w{index}"], name=f"dw{index}", axis=0))
        nodes.append(helper.make_node("Conv", [f"d{index}", f"w{index}"], [f"c{index}"], name=f"conv{index}"))
        nodes.append(helper.make_node("QuantizeLinear", [f"c{index}", "wide", "zero"], [f"q{index + 1}"]))
        nodes.append(helper.make_node("DequantizeLinear", [f"q{index + 1}", "wide", "zero"], [f"d{index + 1}"]))
    graph = helper.make_graph(
        nodes,
        "made",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8, 16, 16])],
        [helper.make_tensor_value_info("d2", TensorProto.FLOAT, [1, 8, 12, 12])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    fit_for_onnxruntime(model)
    x = random.uniform(4.0, 5.1, (1, 8, 16, 16)).astype(np.float32)
    every, none = (getattr(GraphOptimizationLevel, name) for name in ("ORT_ENABLE_ALL", "ORT_DISABLE_ALL"))
    integer, exact = (
        inference_session(model.SerializeToString(), threads=1, level=level).run(None, {"x": x})[0]
        for level in (every, none)
    )
    assert exact.max() > 10
    assert np.abs(integer - exact).max() <= 1.0  # one step


def test_cleaning_leaves_names_of_ours_and_no_traces() -> None:
    model = quantized_convolution()
    clean(model, input_name="image", output_name="logits")
    assert [model.graph.input[0].name, model.graph.output[0].name] == ["image", "logits"]
    assert b"a.py" not in model.SerializeToString()
    onnx.checker.check_model(model, full_check=True)


def test_halved_weights_keep_small_and_overflowing_tensors() -> None:
    values = {"big": np.full(100, 1e6), "small": np.ones(4), "weights": np.linspace(-1, 1, 100)}
    nodes = [helper.make_node("ReduceSum", [name], [f"sum_{name}"], keepdims=0) for name in values]
    nodes.append(helper.make_node("Sum", ["x", *(f"sum_{name}" for name in values)], ["y"]))
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    initial = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in values.items()]
    model = helper.make_model(helper.make_graph(nodes, "made", info[:1], info[1:], initial))
    halve_weights(model)
    kinds = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert kinds == {"big": TensorProto.FLOAT, "small": TensorProto.FLOAT, "weights.float16": TensorProto.FLOAT16}


def test_a_file_that_onnx_runtime_rejects_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"\x08\x0a not a graph")
    with pytest.raises(ConversionError, match=r"model\.onnx: ONNX Runtime does not load it"):
        executed_graph(tmp_path / "model.onnx", int8=True)
