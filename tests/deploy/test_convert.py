"""What a checkpoint and a target ask for reaches the manifest, and the runtime follows the manifest."""

from __future__ import annotations

import dataclasses
import importlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from contracts.foreign_package import foreign_package, settle, write_spec

import edgeseg
from edgeseg.core.cpu_features import int8_sums_saturate
from edgeseg.data import render_street
from edgeseg.errors import GateError
from edgeseg.models import Checkpoint, open_model
from edgeseg.runtime import verify

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edgeseg.core.artifact import Artifact

BOARD = """
schema = 1
name = "board"
title = "A board"
soc = "a chip"
arch = "x86_64"
memory_mb = 1024
[[backends]]
format = "onnx"
engine = "onnxruntime"
schemes = ["int8"]
[backends.quantization]
float_ops = ["leaky_relu", "matmul", "sub"]
per_channel_weights = false
symmetric_activations = true
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkpoint]:
    folder = tmp_path_factory.mktemp("net")
    with foreign_package(folder) as name:
        torch.manual_seed(0)
        # Random weights tie classes all over; two of them, far apart, leave int8 something to agree on.
        state = settle(__import__(name).build()).state_dict()
        state = {key: value[:2] * 4 if key.startswith(("head", "side")) else value for key, value in state.items()}
        torch.save(state, folder / "net.pth")
        write_spec(folder, classes=2)
        yield open_model(f"{name}:build", weights=folder / "net.pth")


@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_the_host_normalises_where_the_checkpoint_says_so(target: str, checkpoint: Checkpoint, tmp_path: Path) -> None:
    pytest.importorskip({"onnx": "onnxruntime"}.get(target, target))
    host = dataclasses.replace(checkpoint.spec.preprocess, in_graph=False)
    asked = dataclasses.replace(checkpoint, spec=dataclasses.replace(checkpoint.spec, preprocess=host))
    (made,) = edgeseg.convert(asked, target=target, precision="fp32", out=tmp_path / "host")
    assert made.manifest.preprocess == host
    assert made.manifest.inputs[0].dtype == "float32"
    assert made.manifest.placements
    assert made.manifest.parity.label_agreement > 0.999
    found = verify(made.folder)
    assert found.input_matches
    assert found.agreement >= found.min_agreement
    (other,) = edgeseg.convert(checkpoint, target=target, precision="fp32", out=tmp_path / "graph")
    assert other.manifest.preprocess.in_graph
    image = render_street(3)[0]
    with edgeseg.load(made.folder) as first, edgeseg.load(other.folder) as second:
        assert np.mean(first.segment(image) == second.segment(image)) > 0.999


def test_an_artifact_that_no_engine_here_can_prove_is_named(
    checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr("edgeseg.deploy.prove.engine_here", lambda *_, **__: (None, "no engine for it is here"))
    said: list[str] = []
    (made,) = edgeseg.convert(checkpoint, target="onnx", precision="fp32", out=tmp_path / "out", on_notice=said.append)
    assert made.manifest.proof.level == "none"
    assert any("not proven: no engine for it is here. Verify it on the device." in text for text in said)


def test_a_target_replaces_single_quantization_rules(checkpoint: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "board.toml").write_text(BOARD, encoding="utf-8")
    targets = ("onnx", str(tmp_path / "board.toml"))
    usual, board = edgeseg.convert(
        checkpoint, target=targets, precision="int8", calibration="streets:4", out=tmp_path / "made"
    )
    scheme, other = usual.manifest.scheme, board.manifest.scheme
    assert (scheme.weights, scheme.activations) == ("int8 symmetric per-channel", "uint8 affine per-tensor")
    assert (other.weights, other.activations) == ("int8 symmetric per-tensor", "uint8 symmetric per-tensor")
    assert {*scheme.float_layers} - {*other.float_layers} == {"net.up:conv_transpose2d", "net:relu#2"}


@pytest.mark.parametrize("saturate", [True, False])
def test_a_refused_artifact_is_converted_again_where_int8_sums_saturate(
    saturate: bool, checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    conversion = importlib.import_module("edgeseg.deploy.convert")
    proving = importlib.import_module("edgeseg.deploy.prove")
    prove, refusals = proving.prove_here, []

    def refuse_once(*args: Any, refused: Path, **options: Any) -> Any:
        if not refusals:
            refusals.append(refused)
            refused.touch()
            raise GateError("Class car is lost.")
        return prove(*args, refused=refused, **options)

    monkeypatch.setattr(proving, "prove_here", refuse_once)
    monkeypatch.setattr(conversion, "int8_sums_saturate", lambda: saturate)
    told: list[str] = []

    def convert() -> Artifact:
        (made,) = edgeseg.convert(
            checkpoint, target="openvino", precision="int8", calibration="streets:4", out=tmp_path / "made",
            on_notice=told.append,
        )  # fmt: skip
        return made

    if not saturate:
        with pytest.raises(GateError, match="Class car is lost"):
            convert()
        assert refusals[0].is_file()
        return
    assert convert().manifest.parity.label_agreement > 0.9
    assert not refusals[0].exists()
    (notice,) = [text for text in told if "VNNI" in text]
    assert "Class car is lost." in notice


def test_the_cpu_shows_whether_int8_sums_saturate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "proc").mkdir()
    for machine, flags, expected in (
        ("x86_64", "fpu avx2", True), ("x86_64", "fpu avx2 avx_vnni", False), ("aarch64", "", False),
    ):  # fmt: skip
        monkeypatch.setattr("platform.machine", lambda machine=machine: machine)
        (tmp_path / "proc/cpuinfo").write_text(f"processor : 0\nflags : {flags}\n", encoding="utf-8")
        assert int8_sums_saturate(tmp_path) is expected
    monkeypatch.setattr("platform.machine", lambda: "AMD64")
    assert int8_sums_saturate(tmp_path / "nowhere")
