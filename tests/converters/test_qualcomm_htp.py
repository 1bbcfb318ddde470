"""Qualcomm HTP: the quantized graph, and the compiler and simulator with a stand-in for QNN, or QNN where installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from contracts import tiny_artifact as tiny
from contracts.compiler_contract import CompilerContract
from contracts.deployable import deployable, ranges
from onnx import numpy_helper

from edgeseg.converters.onnx import HTP_CONVERTER
from edgeseg.converters.qualcomm_htp import COMPILER, HtpCompiler
from edgeseg.converters.qualcomm_htp.compile import QNN_TOOLCHAIN, qnn_arguments
from edgeseg.core.artifact import open_artifact
from edgeseg.core.files import write_json
from edgeseg.core.placement import delegated
from edgeseg.deploy.compile import compile_artifact
from edgeseg.errors import ArtifactError, ConversionError, MissingDependency, UnknownName
from edgeseg.export import export
from edgeseg.runtime import load
from edgeseg.runtime.engines.onnxruntime import inference_session
from edgeseg.runtime.engines.qnn import SimulatorSession
from edgeseg.toolchains import find_toolchain
from edgeseg.toolchains.store import Installed, site_packages

if TYPE_CHECKING:
    from edgeseg.core.artifact import Artifact
    from edgeseg.core.exported import Conversion, ExportedModel

STUB = Path(__file__).parent / "stub_qnn"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[ExportedModel, Conversion, onnx.ModelProto]]:
    """Return the graph of a small net in both precisions."""
    checkpoint = deployable()
    observed, found = ranges(checkpoint), {}
    for precision in ("int8", "a16w8"):
        folder = tmp_path_factory.mktemp(precision)
        model = export(
            checkpoint, folder=folder / "exported", precision=precision, ranges=observed, normalisation="host"
        )
        conversion = HTP_CONVERTER.convert(model, folder=folder)
        found[precision] = (model, conversion, onnx.load(folder / conversion.entry))
    return found


@pytest.mark.parametrize(("precision", "dtype"), [("int8", np.uint8), ("a16w8", np.uint16)])
def test_every_layer_lies_between_pairs_of_its_width(exported: dict, precision: str, dtype: type) -> None:
    _, conversion, model = exported[precision]
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    producer = {output: node for node in model.graph.node for output in node.output}
    readers = {value: node for node in model.graph.node for value in node.input}
    layers = [node for node in model.graph.node if node.op_type == "Conv"]
    assert len(layers) > 20
    for node in layers:
        data, weight, *bias = (producer[value] for value in node.input)
        assert {item.op_type for item in (data, weight, *bias)} == {"DequantizeLinear"}
        assert values[data.input[2]].dtype == dtype
        assert values[weight.input[0]].dtype == np.int8
        assert not values[weight.input[2]].any()
        assert all(values[item.input[0]].dtype == np.int32 for item in bias)
        behind = readers[node.output[0]]
        if behind.op_type == "Relu":
            behind = readers[behind.output[0]]
            # Only then is the ReLU part of the layer's own kernel.
            assert not values[behind.input[2]].any()
        assert behind.op_type == "QuantizeLinear"
    assert conversion.scheme.name == precision
    assert {item.dtype for item in conversion.ops if item.op in ("Conv", "Relu")} == {np.dtype(dtype).name}


def test_16_bits_keep_the_ranges_and_come_closer_to_float(exported: dict) -> None:
    agreement = {}
    for precision, (model, conversion, graph) in exported.items():
        session = inference_session(graph.SerializeToString(), threads=1)
        assert session.get_inputs()[0].name == conversion.input.name
        found = session.run(None, {"image": _normalised(model)})[0]
        agreement[precision] = float(np.abs(found - model.golden_output()).mean())
    assert agreement["a16w8"] < agreement["int8"] / 2


def _normalised(model: ExportedModel) -> np.ndarray:
    from edgeseg.pixels import prepare

    return prepare(model.golden_image(), preprocess=model.preprocess, tensor=model.input)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a toolchain with the stand-in, as an installation leaves one."""
    folder = tmp_path_factory.mktemp("toolchains") / QNN_TOOLCHAIN
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    version = f"3.{sys.version_info.minor}"
    packages = site_packages(folder, version=version)
    shutil.copytree(STUB, packages, dirs_exist_ok=True)
    about = packages / "onnxruntime_qnn-2.7.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: onnxruntime-qnn\nVersion: 2.7.0\n")
    ours = {sysconfig.get_path("purelib"), *(path for path in sys.path if path.endswith("site-packages"))}
    (packages / "ours.pth").write_text("\n".join(sorted(ours)) + "\n")
    tool = find_toolchain(QNN_TOOLCHAIN)
    record = Installed(
        schema=1, name=QNN_TOOLCHAIN, version=tool.version, lock_sha256=tool.lock_sha256, python=version,
        licence=tool.licence, licence_accepted="2026-11-30T00:00:00+00:00", size_bytes=1, entries=("onnxruntime_qnn",),
    )  # fmt: skip
    write_json(record, folder / "installed.json")
    return folder.parent


@pytest.fixture
def _installed(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGESEG_TOOLCHAINS", str(store))
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr("platform.system", lambda: "Linux")


def source(folder: Path) -> Artifact:
    """Write the tiny net as an artifact of the format that the compiler reads, with its placements."""
    return tiny.make_artifact(folder, file_format="htp-onnx", precision="int8")


@pytest.mark.usefixtures("_installed")
class TestHtp(CompilerContract):
    def compiler(self) -> HtpCompiler:
        return COMPILER

    def source(self, folder: Path) -> Artifact:
        return source(folder)


@pytest.mark.usefixtures("_installed")
def test_it_is_proven_on_the_simulator_and_runs_there(tmp_path: Path) -> None:
    made = compile_artifact(source(tmp_path / "source").folder, target="snapdragon-8-elite", out=tmp_path / "out")
    manifest = open_artifact(made.folder).manifest
    assert (manifest.proof.level, manifest.proof.engine) == ("simulator", "qnn-simulator")
    assert "no Snapdragon" in manifest.proof.reason or "onnxruntime-qnn" in manifest.proof.reason
    assert manifest.backend.engine == "qnn"
    assert delegated(manifest.placements) == 1.0
    with load(made.folder, engine="qnn-simulator") as session:
        image = tiny.image()
        tensor = session.preprocess(image)
        np.testing.assert_allclose(session.infer(tensor).transpose(0, 2, 3, 1), tiny.logits_of(tensor), atol=2e-4)
        assert session.segment(image).shape == tiny.SIZE


@pytest.mark.usefixtures("_installed")
def test_what_qnn_leaves_is_on_the_cpu_and_errors_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = source(tmp_path / "source").folder
    made = compile_artifact(folder, compiler=QNN_TOOLCHAIN, options={"htp_arch": "81"}, out=tmp_path / "out")
    left = [item for item in made.manifest.placements if item.unit == "cpu"]
    assert [item.op for item in left] == ["Cast"]
    assert left[0].reason
    with pytest.raises(ConversionError, match=r"Failed to finalize QNN graph.*qualcomm-qnn-\w+\.log") as caught:
        compile_artifact(folder, compiler=QNN_TOOLCHAIN, options={"htp_arch": "69"}, out=tmp_path / "none")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "logs").exists()
    monkeypatch.setenv("STUB_QNN", "crash")
    with pytest.raises(ArtifactError, match="QNN cannot open it"):
        load(made.folder, engine="qnn-simulator")


@pytest.mark.parametrize("program", ["exit 1", 'read line; echo \'{"error": ""}\'; exit 1'])
def test_a_simulator_that_ends_is_one_error_and_closes_quietly(program: str, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{program}\n")
    python.chmod(0o755)
    made = source(tmp_path / "source")
    image = np.zeros(made.manifest.inputs[0].shape, made.manifest.inputs[0].dtype)
    for _ in range(5):  # the pipe breaks before or after the request was written
        with pytest.raises(ArtifactError, match="it ended"):
            run_once(made, python=python, image=image)


def run_once(made: Artifact, *, python: Path, image: np.ndarray) -> None:
    session = SimulatorSession(made, python=python)
    assert session._child is not None
    session._child.wait()
    try:
        session.run(image)
    finally:
        session.close()
        assert session._log.closed


@pytest.mark.usefixtures("_installed")
def test_wrong_options_and_a_missing_toolchain_are_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownName, match="htp_arch"):
        qnn_arguments({"htp_arch": "7"})
    monkeypatch.setenv("EDGESEG_TOOLCHAINS", str(tmp_path / "empty"))
    with pytest.raises(MissingDependency, match="edgeseg toolchain install onnxruntime-qnn"):
        COMPILER.check()
