"""Core AI: the half-precision graph, the toolchain's faults with a stand-in, and the real one where it is installed."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from contracts.converter_contract import ConverterContract, exported
from contracts.coreai_text import install_stand_in
from contracts.deployable import deployable, images

import edgeseg.converters.coreai as room
from edgeseg.cli.main import main
from edgeseg.converters.coreai import CONVERTER
from edgeseg.converters.coreai.half import in_half
from edgeseg.core.files import read_json, write_json
from edgeseg.core.quantization import SCHEMES
from edgeseg.deploy.plan import plan_artifacts
from edgeseg.errors import ConversionError, MissingDependency, UnsupportedError
from edgeseg.export import export
from edgeseg.toolchains import find_toolchain, toolchain_status
from edgeseg.toolchains.store import INSTALLED_FILE, Installed
from edgeseg.verbs.doctor import diagnose

if TYPE_CHECKING:
    from types import ModuleType

    from edgeseg.core.exported import ExportedModel

FAILING = """
import os
if os.environ.get("STAND_IN") == "kill":
    os.kill(os.getpid(), 9)
raise ValueError("Unsupported op: aten.no_such_op")
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toolchains")
    install_stand_in(folder, coreai_torch=FAILING)
    return folder


@pytest.fixture
def stand_in(store: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Install the stand-in; return what also sets its STAND_IN."""
    monkeypatch.setenv("EDGESEG_TOOLCHAINS", str(store))
    return monkeypatch


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> ExportedModel:
    return export(deployable(short=True), folder=tmp_path_factory.mktemp("exported"), precision="fp32")


@pytest.fixture(scope="module")
def small(plain: ExportedModel, tmp_path_factory: pytest.TempPathFactory) -> ExportedModel:
    return plain.as_scheme(SCHEMES["fp16"], folder=tmp_path_factory.mktemp("half") / "exported")


def test_half_precision_begins_behind_the_normalisation(small: ExportedModel) -> None:
    graph = in_half(small).module()
    tensors = {node.name: node.meta["val"] for node in graph.graph.nodes if "val" in node.meta}
    layers = [node for node in graph.graph.nodes if node.target is torch.ops.aten.conv2d.default]
    assert len(layers) > 10
    assert {tensors[node.name].dtype for node in layers} == {torch.float16}
    products = [node for node in graph.graph.nodes if node.target is torch.ops.aten.mul.Tensor]
    assert {tensors[node.name].dtype for node in products[:1]} == {torch.float32}
    assert {value.dtype for value in small.program().module().state_dict().values()} == {torch.float32}
    pixels = images(small.spec, count=1)[0]
    with torch.no_grad():
        found = graph(torch.from_numpy(pixels)).numpy()
        wanted = small.program().module()(torch.from_numpy(pixels)).numpy()
    assert found.dtype == np.float32
    noise = ((found - wanted) ** 2).sum() / (wanted**2).sum()
    assert 1e-9 < noise < 10**-2.5, "halves, and no worse than halves"


def test_a_floats_image_is_halved_at_once(tmp_path: Path) -> None:
    model = export(deployable(short=True), folder=tmp_path, precision="fp32", normalisation="host")
    graph = in_half(model).module()
    tensor = torch.zeros(model.input.shape)
    assert graph(tensor).dtype == torch.float32
    assert {value.dtype for value in graph.state_dict().values()} == {torch.float16}


@pytest.mark.usefixtures("stand_in")
def test_int8_is_refused_before_anything_slow() -> None:
    with pytest.raises(UnsupportedError, match=r"Core AI has no int8 here\. Give --precision fp32 or fp16"):
        plan_artifacts(("coreai",), precision="int8", has_ranges=True, model="net", out=None)


def test_without_the_toolchain_convert_ends_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EDGESEG_TOOLCHAINS", str(tmp_path / "none"))
    assert (
        main(["convert", "fast_scnn", "--target", "coreai", "--precision", "fp16", "--out", str(tmp_path / "a")]) == 1
    )
    said = capsys.readouterr()
    assert said.err.splitlines()[-1] == (
        "edgeseg: Apple Core AI (coreai) is not installed: edgeseg toolchain install coreai"
    )
    assert not (tmp_path / "a").exists()
    finding = next(item for item in diagnose().findings if item.name == "coreai")
    assert (finding.works, finding.fix) == (False, "edgeseg toolchain install coreai")


@pytest.mark.parametrize(("change", "words"), [
    ({"python": "3.2"}, r"is installed for Python 3\.2; edgeseg runs on 3"),
    ({"lock_sha256": "0" * 64}, "with other packages than this edgeseg pins"),
    ({"entries": ("gone.py",)}, r"is damaged \(gone\.py is missing\)"),
])  # fmt: skip
@pytest.mark.usefixtures("stand_in")
def test_a_toolchain_of_another_kind_is_one_line(change: dict[str, object], words: str, store: Path) -> None:
    record = store / "coreai" / INSTALLED_FILE
    whole = read_json(Installed, record)
    write_json(dataclasses.replace(whole, **change), record)  # type: ignore[arg-type]
    try:
        with pytest.raises(MissingDependency, match=rf"{words}.*: edgeseg toolchain install coreai$"):
            CONVERTER.check()
    finally:
        write_json(whole, record)
    CONVERTER.check()


@pytest.mark.parametrize(("how", "words"), [("kill", "was ended by SIGKILL"), ("error", "Unsupported op")])
def test_a_tool_that_dies_is_one_line_and_leaves_nothing(
    how: str, words: str, plain: ExportedModel, tmp_path: Path, stand_in: pytest.MonkeyPatch
) -> None:
    stand_in.setenv("STAND_IN", how)
    folder = tmp_path / "artifact"
    folder.mkdir()
    with pytest.raises(ConversionError, match=words) as caught:
        CONVERTER.convert(plain, folder=folder)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("Core AI ")
    assert list(folder.iterdir()) == []
    assert not (tmp_path / "logs").exists()


def test_ops_are_counted_in_the_main_graph_alone() -> None:
    text = """  "coreai.graph"() <{sym_name = "avg_pool2d_composite_ab"}> ({
    %9 = "coreai.pad"(%arg1) : (tensor<1x8xf32>) -> tensor<1x8xf32>
  }) : () -> ()
  "coreai.graph"() <{sym_name = "main"}> ({
    %1 = "coreai.constant"() <{value = dense<1> : tensor<2xui32>}> : () -> tensor<2xui32>
    %2 = "coreai.cast"(%arg0) : (tensor<1x8xui8>) -> tensor<1x8xf16>
    %3 = "coreai.invoke"(%2) <{callee = #param.constant<@avg_pool2d_composite_ab> : !param.symbol}> : () -> tensor<f32>
    %4 = "coreai.decomposable.broadcasting_add"(%2, %3) : (tensor<1x8xf16>) -> tensor<1x8xf16>
    "coreai.output"(%4) : (tensor<1x8xf16>) -> ()"""
    assert tool().computing_ops(text) == [
        {"op": "avg_pool2d", "node": "3", "dtype": "float32"},
        {"op": "broadcasting_add", "node": "4", "dtype": "float16"},
    ]


def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("coreai_tool", Path(room.__file__).with_name("tool.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(
    toolchain_status(find_toolchain("coreai")).state != "installed", reason="the toolchain coreai is not installed"
)
class TestCoreAI(ConverterContract):
    format, library = "coreai", "torch"
    deterministic = False  # the date of creation is in the file

    def test_in_half_precision_too(self, tmp_path: Path) -> None:
        model = exported("fp16")
        conversion = CONVERTER.convert(model, folder=tmp_path)
        assert {op.dtype for op in conversion.ops if op.op == "conv2d"} == {"float16"}
        self._check_answers(model, conversion, "fp16", tmp_path)
