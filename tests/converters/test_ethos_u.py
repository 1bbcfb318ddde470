"""The Ethos-U compiler, with a stand-in for Vela in a toolchain of its own, and with Vela itself where installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import types
from pathlib import Path
from typing import TYPE_CHECKING

import flatbuffers
import pytest
from ai_edge_litert import schema_py_generated as schema
from contracts import tiny_artifact as tiny
from contracts.compiler_contract import CompilerContract

from edgeseg.cli.main import main
from edgeseg.cli.placement import placement_lines
from edgeseg.converters.ethos_u import COMPILER, EthosUCompiler
from edgeseg.converters.ethos_u.compile import ACCELERATORS, TOOLCHAIN, vela_arguments
from edgeseg.converters.ethos_u.tool import operators
from edgeseg.converters.tflite.census import census
from edgeseg.converters.tflite.flatbuffer import read_model
from edgeseg.core.artifact import open_artifact
from edgeseg.core.files import write_json
from edgeseg.core.placement import delegated
from edgeseg.core.vendor_process import tool_logs
from edgeseg.deploy.compile import compile_artifact
from edgeseg.errors import ConversionError, InputError, MissingDependency, UnknownName, UnsupportedError
from edgeseg.runtime import load
from edgeseg.toolchains import find_toolchain
from edgeseg.toolchains.store import Installed, site_packages

if TYPE_CHECKING:
    from edgeseg.core.artifact import Artifact

STUB = Path(__file__).parent / "stub_vela"
RE_EXPORT = "from ai_edge_litert.schema_py_generated import {0}\n"


@pytest.fixture(scope="module", autouse=True)
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a toolchain with the stand-in, as an installation leaves one."""
    folder = tmp_path_factory.mktemp("toolchains") / TOOLCHAIN
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    version = f"3.{sys.version_info.minor}"
    packages = site_packages(folder, version=version)
    schema = packages / "ethosu" / "vela" / "tflite"
    schema.mkdir(parents=True)
    (packages / "ethosu" / "vela" / "__init__.py").touch()
    shutil.copyfile(STUB / "__main__.py", packages / "ethosu" / "vela" / "__main__.py")
    for name in ("BuiltinOperator", "Model", "TensorType"):
        (schema / f"{name}.py").write_text(RE_EXPORT.format(name))
    about = packages / "ethos_u_vela-5.2.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: ethos-u-vela\nVersion: 5.2.0\n")
    ours = {sysconfig.get_path("purelib"), *(path for path in sys.path if path.endswith("site-packages"))}
    (packages / "ours.pth").write_text("\n".join(sorted(ours)) + "\n")
    tool = find_toolchain(TOOLCHAIN)
    record = Installed(
        schema=1, name=TOOLCHAIN, version=tool.version, lock_sha256=tool.lock_sha256, python=version,
        licence=tool.licence, licence_accepted="2026-11-30T00:00:00+00:00", size_bytes=1, entries=("ethosu",),
    )  # fmt: skip
    write_json(record, folder / "installed.json")
    return folder.parent


@pytest.fixture(autouse=True)
def _installed(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGESEG_TOOLCHAINS", str(store))


def source(folder: Path) -> Artifact:
    return tiny.make_artifact(folder, precision="int8")


class TestEthosU(CompilerContract):
    def compiler(self) -> EthosUCompiler:
        return COMPILER

    def source(self, folder: Path) -> Artifact:
        return source(folder)


@pytest.fixture(scope="module")
def made(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGESEG_TOOLCHAINS", str(store))
        return compile_artifact(source(folder / "source").folder, target="corstone-300", out=folder / "out")


def test_placement_and_estimate_are_velas_and_labelled(made: Artifact) -> None:
    manifest = open_artifact(made.folder).manifest
    ops = {item.op: item for item in manifest.placements}
    assert (ops["CONV_2D"].unit, ops["CONV_2D"].cycles, ops["CONV_2D"].reason) == ("npu", 1000.0, "")
    assert (ops["CAST"].unit, ops["CAST"].cycles, ops["CAST"].reason) == ("cpu", None, "Unsupported opType")
    assert delegated(manifest.placements) == 0.5
    estimate = manifest.report.estimate
    assert estimate is not None
    assert (estimate.latency_ms, estimate.sram_kib, estimate.flash_kib) == (2.0, 10.5, 3.5)
    assert estimate.left_out == ("1 CAST",)
    text = "\n".join(placement_lines(made))
    assert "estimate, CPU ops left out: 2.00 ms at 500 MHz" in text
    assert "without 1 CAST" in text
    assert "on the CPU: CAST real: Unsupported opType" in text
    assert manifest.report.tool_versions == {"ethos-u-vela": "5.2.0"}
    assert sorted(path.name for path in made.folder.parent.iterdir()) == ["out", "source"]


def test_it_is_proven_by_its_source_and_says_where_it_runs(made: Artifact) -> None:
    manifest = made.manifest
    assert manifest.backend.engine == "ethos-u"
    assert manifest.target == "corstone-300"
    assert manifest.proof.level == "source"
    assert "delegate" in manifest.proof.reason
    assert manifest.parity.label_agreement == 1.0
    with pytest.raises(MissingDependency, match="Ethos-U delegate"):
        load(made.folder)


def test_too_few_ops_on_the_npu_is_status_3_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = source(tmp_path / "source").folder
    arguments = ["compile", str(folder), "--target", "imx93", "--out", str(tmp_path / "out")]
    assert main([*arguments, "--require-delegation", "100"]) == 3
    said = capsys.readouterr().err
    assert "50.0 % of 2 ops run on the accelerator; required: 100 %. On the CPU: CAST (Unsupported opType)." in said
    assert not (tmp_path / "out").exists()
    assert main([*arguments, "--require-delegation", "50"]) == 0


def test_a_net_that_stays_on_the_cpu_is_no_success(tmp_path: Path) -> None:
    folder = source(tmp_path / "source").folder
    with pytest.raises(ConversionError, match="leaves all 2 ops to the CPU"):
        compile_artifact(folder, compiler=TOOLCHAIN, options={"accelerator": "ethos-u85-128"}, out=tmp_path / "out")


def test_velas_own_error_is_one_line_with_its_log(tmp_path: Path) -> None:
    folder = source(tmp_path / "source").folder
    with pytest.raises(ConversionError, match=r"too large for 32 MACs.*arm-vela-\w+\.log") as caught:
        compile_artifact(folder, compiler=TOOLCHAIN, options={"accelerator": "ethos-u55-32"}, out=tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert f"Its log: {tool_logs()}" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_without_the_toolchain_the_command_is_named_before_anything_slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGESEG_TOOLCHAINS", str(tmp_path / "empty"))
    from edgeseg.deploy.conversion_plan import plan_for_targets
    from edgeseg.deploy.conversion_request import ConversionRequest

    with pytest.raises(MissingDependency, match="edgeseg toolchain install ethos-u-vela"):
        plan_for_targets("fast_scnn:streets", ConversionRequest(target="corstone-300", out=tmp_path / "out"))


def test_a_float_artifact_is_refused_with_what_to_do(tmp_path: Path) -> None:
    folder = tiny.make_artifact(tmp_path / "source").folder
    with pytest.raises(UnsupportedError, match="--precision int8"):
        compile_artifact(folder, compiler=TOOLCHAIN, out=tmp_path / "out")


def test_every_family_has_its_memory_system_and_wrong_values_are_refused() -> None:
    for name in ACCELERATORS:
        arguments = vela_arguments({"accelerator": name})
        assert arguments[arguments.index("--system-config") + 1].startswith(f"Ethos_U{name[7:9]}_")
    assert vela_arguments({"arena_cache_kib": "256"})[-1] == "262144"
    with pytest.raises(UnknownName, match="ethos-u55-256"):
        vela_arguments({"accelerator": "ethos-u55-257"})
    with pytest.raises(InputError, match="arena_cache_kib"):
        vela_arguments({"arena_cache_kib": "-4"})


def transposed_and_split(path: Path) -> bytes:
    """Write an int8 TFLite file of a transposed convolution and a split, whose first inputs are a shape and an axis."""
    kinds = schema.TensorType
    model, graph = schema.ModelT(), schema.SubGraphT()
    graph.tensors, graph.operators, model.operatorCodes = [], [], []
    inputs = ((kinds.INT32, kinds.INT8, kinds.INT8), (kinds.INT32, kinds.INT8))
    for index, (name, given) in enumerate(zip(("TRANSPOSE_CONV", "SPLIT"), inputs, strict=True)):
        code, operator = schema.OperatorCodeT(), schema.OperatorT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, name)
        model.operatorCodes.append(code)
        operator.opcodeIndex, first = index, len(graph.tensors)
        for number, kind in enumerate((*given, kinds.INT8)):
            tensor = schema.TensorT()
            tensor.name, tensor.type, tensor.shape = f"{name}/{number}", kind, [1]
            graph.tensors.append(tensor)
        operator.inputs = list(range(first, first + len(given)))
        operator.outputs = [first + len(given)]
        graph.operators.append(operator)
    graph.inputs, graph.outputs = [0], [len(graph.tensors) - 1]
    model.subgraphs, model.buffers, model.version = [graph], [schema.BufferT()], 3
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(builder.Output())
    return path.read_bytes()


def test_an_op_whose_first_input_is_a_shape_or_an_axis_is_counted_as_int8(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = transposed_and_split(tmp_path / "model.tflite")
    found = census(read_model(content), int8=True)
    assert [(item.op, item.dtype, item.reason) for item in found] == [
        ("TRANSPOSE_CONV", "int8", ""),
        ("SPLIT", "int8", ""),
    ]
    for name in ("BuiltinOperator", "Model", "TensorType"):
        monkeypatch.setitem(sys.modules, f"ethosu.vela.tflite.{name}", schema)
    for name in ("ethosu", "ethosu.vela", "ethosu.vela.tflite"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    placed = operators(tmp_path / "model.tflite")
    assert [(name, dtype) for name, _, dtype in placed] == [("TRANSPOSE_CONV", "int8"), ("SPLIT", "int8")]
