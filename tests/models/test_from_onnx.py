"""Every op of an imported ONNX file computes what ONNX Runtime does, and the rest is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from models.onnx_cases import CASES, Case, floats
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edgeseg.errors import CheckpointError, UnsupportedError
from edgeseg.models.from_onnx.importing import import_graph
from edgeseg.models.from_onnx.net import OnnxNet
from edgeseg.models.from_onnx.ops import LOWERINGS
from edgeseg.models.from_onnx.plan import plan_from_text
from edgeseg.models.from_onnx.tracing import RESERVED


def in_onnxruntime(model: ModelProto, x: np.ndarray) -> list[np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, {"x": x}))


def imported(model: ModelProto, x: np.ndarray, output: str = "y0") -> OnnxNet:
    return import_graph(model, image=torch.from_numpy(x), channels_last=False, output=output, path=Path("f.onnx"))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_op_computes_what_onnx_runtime_does(case: Case) -> None:
    x = np.random.default_rng(3).normal(size=case.shape).astype(np.float32)
    model = case.model()
    expected = in_onnxruntime(model, x)
    for place, wanted in enumerate(expected):
        net = imported(model, x, f"y{place}")
        given = net(torch.from_numpy(x)).detach().numpy()
        assert given.shape == wanted.shape
        assert given.dtype.kind == wanted.dtype.kind
        np.testing.assert_allclose(given, wanted, rtol=1e-4, atol=2e-5)


def test_a_branch_that_reads_around_it_is_refused_by_name() -> None:
    def branch(name: str) -> object:
        return helper.make_graph(
            [helper.make_node("Relu", ["x"], [name])], name, [], [helper.make_empty_tensor_value_info(name)]
        )

    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "at"], ["high"]),
        helper.make_node("Equal", ["high", "one"], ["flat"]),
        helper.make_node("If", ["flat"], ["y0"], name="squeeze", then_branch=branch("a"), else_branch=branch("b")),
    ]
    stored = {"at": np.array(2), "one": np.array(1)}
    with pytest.raises(UnsupportedError, match=r'If \(node "squeeze"\)'):
        imported(graph_of(nodes, stored), np.zeros((1, 6, 4, 4), np.float32))


@pytest.mark.parametrize("name", RESERVED)
def test_a_node_may_have_the_name_of_an_attribute(name: str) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["inner"], name=name), helper.make_node("Neg", ["inner"], ["y0"])]
    x = np.random.default_rng(0).normal(size=(1, 6, 4, 4)).astype(np.float32)
    net = imported(graph_of(nodes, {}), x)
    np.testing.assert_array_equal(net(torch.from_numpy(x)).detach().numpy(), -np.maximum(x, 0))


def test_every_op_that_is_promised_is_tested() -> None:
    # Sqrt and Log want positive numbers, Not, And and Or truth values: the nets below hold them.
    assert set(LOWERINGS) - {case.op for case in CASES} == {"Sqrt", "Log", "Not", "And", "Or", "Swish"}


def graph_of(nodes: list[object], stored: dict[str, np.ndarray], *, opset: int = 17) -> ModelProto:
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 6, "h", "w"])],
        [helper.make_empty_tensor_value_info("y0")],
        [numpy_helper.from_array(value, name) for name, value in stored.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def node(op: str, inputs: str, outputs: str, **attributes: object) -> object:
    return helper.make_node(
        op, inputs.split(), outputs.split(), name=f"/{outputs.split(maxsplit=1)[0]}/{op}", **attributes
    )


def shape_arithmetic() -> ModelProto:
    """Return a net as exporters write it: sizes from Shape, Gather and Concat, a decomposed layer norm, attention."""
    nodes = [
        node("Shape", "x", "shape"),
        node("Slice", "shape two four", "size"),
        node("Constant", "", "twice", value=numpy_helper.from_array(np.array([2, 2]))),
        node("Mul", "size twice", "sizes"),
        node("Slice", "shape zero two", "start"),
        node("Concat", "start sizes", "whole", axis=0),
        node("Resize", "x none none whole", "big", mode="linear", coordinate_transformation_mode="half_pixel"),
        node("Transpose", "big", "last", perm=[0, 2, 3, 1]),
        node("ReduceMean", "last", "mean", axes=[-1]),
        node("Sub", "last mean", "centred"),
        node("Pow", "centred square", "squares"),
        node("ReduceMean", "squares", "variance", axes=[-1]),
        node("Add", "variance epsilon", "safe"),
        node("Sqrt", "safe", "deviation"),
        node("Div", "centred deviation", "normed"),
        node("MatMul", "normed matrix", "product"),
        node("Add", "product shift", "biased"),
        node("Greater", "biased zero_float", "above"),
        node("Not", "above", "below"),
        node("And", "above above", "both"),
        node("Or", "both below", "any"),
        node("Where", "any biased zero_float", "chosen"),
        node("Exp", "chosen", "powers"),
        node("Log", "powers", "logs"),
        node("Transpose", "logs", "y0", perm=[0, 3, 1, 2]),
    ]
    stored = {
        "zero": np.array([0]), "two": np.array([2]), "four": np.array([4]), "square": np.float32(2),
        "none": np.zeros(0, np.float32),
        "epsilon": np.float32(1e-5), "matrix": floats(6, 5), "shift": floats(5), "zero_float": np.float32(0),
    }  # fmt: skip
    return graph_of(list(nodes), stored)


def test_shape_arithmetic_is_done_in_advance_and_a_bias_joins_its_layer() -> None:
    x = floats(1, 6, 5, 7)
    model = shape_arithmetic()
    net = imported(model, x)
    np.testing.assert_allclose(net(torch.from_numpy(x)).detach(), in_onnxruntime(model, x)[0], atol=1e-4)
    kinds = [step.kind for step in net.steps]
    assert "equal" not in kinds
    linear = next(module for module in net.modules() if isinstance(module, torch.nn.Linear))
    assert linear.bias is not None
    torch.export.export(net, (torch.from_numpy(x),))


def test_a_batch_of_several_images_runs() -> None:
    x = floats(1, 6, 5, 7)
    net = imported(shape_arithmetic(), x)
    batch = torch.from_numpy(np.concatenate((x, 2 * x, floats(1, 6, 5, 7))))
    each = torch.cat([net(one[None]) for one in batch])
    torch.testing.assert_close(net(batch), each, atol=1e-4, rtol=1e-4)


def test_permutations_of_a_channels_last_file_cancel() -> None:
    nodes = [node("Transpose", "x", "planes", perm=[0, 3, 1, 2]), node("Relu", "planes", "y0")]
    image = torch.from_numpy(floats(1, 3, 4, 6))
    model = graph_of(nodes, {})
    net = import_graph(model, image=image, channels_last=True, output="y0", path=Path("f.onnx"))
    assert [step.kind for step in net.steps] == ["relu"]
    torch.testing.assert_close(net(image), image.relu())


@pytest.mark.parametrize(
    ("op", "words"),
    [
        ("NonMaxSuppression", r'NonMaxSuppression \(node "/y0/NonMaxSuppression"\).*edgeseg adopt'),
        ("QuantizeLinear", r'is quantized \(node "/y0/QuantizeLinear" is QuantizeLinear\)'),
    ],
)
def test_an_unknown_op_is_named_with_its_node(op: str, words: str) -> None:
    model = graph_of([node("Relu", "x", "a"), node(op, "a a", "y0")], {})
    with pytest.raises(UnsupportedError, match=words):
        imported(model, floats(1, 6, 4, 4))


def test_a_form_of_an_op_that_is_unsupported_is_named_with_its_node() -> None:
    model = graph_of([node("Conv", "x x", "y0")], {})
    with pytest.raises(UnsupportedError, match=r'node "/y0/Conv" \(Conv\): input 1 \("x"\) depends on the image'):
        imported(model, floats(1, 6, 4, 4))


def test_an_op_behind_another_output_does_not_matter() -> None:
    model = graph_of([node("NonZero", "x", "other"), node("Relu", "x", "y0")], {})
    assert [step.kind for step in imported(model, floats(1, 6, 4, 4)).steps] == ["relu"]


def test_the_net_can_be_built_again_from_its_text() -> None:
    x = floats(1, 6, 5, 7)
    net = imported(shape_arithmetic(), x)
    again = OnnxNet(net.text)
    again.load_state_dict(net.state_dict())
    torch.testing.assert_close(again.eval()(torch.from_numpy(x)), net(torch.from_numpy(x)))


@pytest.mark.parametrize("text", ["", "nonsense", "c" * 400])
def test_a_damaged_plan_is_one_line(text: str) -> None:
    with pytest.raises(CheckpointError, match="plan is corrupt"):
        plan_from_text(text)
