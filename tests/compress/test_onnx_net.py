"""A net from somebody else's ONNX file is pruned and trained through int8 from the command line, and converts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from contracts.shapes import write_shapes
from onnx import TensorProto, helper, numpy_helper

from edgeseg.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

SPEC = 'schema = 1\nclasses = ["background", "disc", "box"]\nsize = [64, 96]\n'
RECIPE = """
schema = 1
name = "theirs"
model = "{model}"
[data]
train = "{data}"
[training]
optimizer = {{ name = "adamw", rate = 1e-3 }}
schedule = {{ epochs = 1, warmup_epochs = 0 }}
run = {{ batch = 4, tensorboard = false }}
[[stages]]
kind = "prune"
macs = 0.7
round_to = 4
[[stages]]
kind = "qat"
"""


def write_net(path: Path) -> Path:
    """Write three convolutions and a skip, as an exporter stores them."""
    random = np.random.default_rng(0)
    shapes = {"a": (16, 3, 3, 3), "b": (16, 16, 3, 3), "c": (3, 16, 1, 1)}
    stored = []
    for name, shape in shapes.items():
        weight = random.normal(size=shape) / np.sqrt(np.prod(shape[1:]))
        stored.append(numpy_helper.from_array(weight.astype(np.float32), name))
    halved = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["a0"], name="stem", **halved),
        helper.make_node("Relu", ["a0"], ["a1"], name="stem_relu"),
        helper.make_node("Conv", ["a1", "b"], ["b0"], name="body", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["b0"], ["b1"], name="body_relu"),
        helper.make_node("Add", ["a1", "b1"], ["d"], name="skip"),
        helper.make_node("Conv", ["d", "c"], ["y"], name="head", kernel_shape=[1, 1]),
    ]
    graph = helper.make_graph(
        nodes, "theirs", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 64, 96])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 32, 48])], stored,
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


@pytest.mark.slow
def test_a_foreign_onnx_file_is_pruned_and_trained_through_int8(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxruntime")
    data = write_shapes(tmp_path / "shapes", training=4, validation=2)
    (tmp_path / "recipe.toml").write_text(
        RECIPE.format(model=write_net(tmp_path / "theirs.onnx"), data=data), encoding="utf-8"
    )
    (tmp_path / "spec.toml").write_text(SPEC, encoding="utf-8")
    words = ["compress", str(tmp_path / "recipe.toml"), "--spec", str(tmp_path / "spec.toml")]
    assert main([*words, "--out", str(tmp_path / "run"), "--json"]) == 0
    macs = {item["stage"]: item["macs"] for item in json.loads(capsys.readouterr().out)["stages"]}
    assert macs["qat"] == macs["prune"] <= 0.7 * macs["start"]
    spec = json.loads((tmp_path / "run" / "checkpoint" / "spec.json").read_text(encoding="utf-8"))
    outputs = {item["name"]: item["outputs"] for item in spec["channels"]}
    assert outputs["stem"] == outputs["body"] < 16, "the skip ties them"
    ranges = json.loads((tmp_path / "run" / "checkpoint" / "ranges.json").read_text(encoding="utf-8"))
    assert ranges["mode"] == "qat"
