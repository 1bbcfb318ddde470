"""Each engine against the contract, and what a person reads when one cannot be used."""

from __future__ import annotations

import sys
import types
from typing import TYPE_CHECKING

import pytest
from contracts import tiny_artifact as tiny
from contracts.engine_contract import EngineContract

from edgeseg.core.protocols import EngineStatus
from edgeseg.errors import MissingDependency, UnknownName, UnsupportedError
from edgeseg.runtime import load

if TYPE_CHECKING:
    from pathlib import Path

    from edgeseg.core.quantization import Precision


class TestLiteRT(EngineContract):
    engine, file_format = "litert", "tflite"


class TestTFLiteRuntime(EngineContract):
    engine, file_format = "tflite-runtime", "tflite"


class TestOnnxRuntime(EngineContract):
    engine, file_format = "onnxruntime", "onnx"


class TestOpenVINO(EngineContract):
    engine, file_format = "openvino", "openvino"


class TestNcnn(EngineContract):
    engine, file_format = "ncnn", "ncnn"


class TestExecuTorch(EngineContract):
    engine, file_format = "executorch", "executorch"

    def test_sessions_that_are_open_together_share_one_number_of_threads(self, folder: Path) -> None:
        with load(folder, engine=self.engine, threads=1) as first:
            with pytest.raises(UnsupportedError, match="one pool of threads"):
                load(folder, engine=self.engine, threads=2)
            with load(folder, engine=self.engine, threads=1) as second:
                tensor = first.preprocess(tiny.image())
                assert (first.infer(tensor) == second.infer(tensor)).all()
        with load(folder, engine=self.engine, threads=2) as third:
            assert (third.infer(tensor) == third.infer(tensor)).all()


LIBRARIES = {
    "litert": "ai_edge_litert.interpreter",
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
    "executorch": "executorch.extension.pybindings._C",
    "ncnn": "ncnn",
}


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_missing_library_names_the_extra(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(LIBRARIES[name])
    engines = {"litert": "tflite", "onnxruntime": "onnx", "openvino": "openvino"}
    file_format = engines.get(name, name)
    tiny.make_artifact(tmp_path / "a", file_format=file_format)
    monkeypatch.setitem(sys.modules, LIBRARIES[name], None)
    with pytest.raises(MissingDependency, match=r'pip install "edgeseg\[') as caught:
        load(tmp_path / "a", engine=name)
    assert "\n" not in str(caught.value)


def test_a_library_that_breaks_on_import_is_a_reason_and_not_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgeseg.runtime.engines import library

    def broken(_name: str) -> None:
        raise RuntimeError("compiled against another numpy\nand more")

    monkeypatch.setattr(library.importlib, "import_module", broken)
    status = library.library_status("x", title="X", distribution="x", fix="pip install x")
    assert not status.available
    assert "compiled against another numpy" in status.reason
    assert "\n" not in status.reason


def test_another_engine_takes_over_when_the_artifacts_own_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = pytest.importorskip("ai_edge_litert.interpreter")
    from edgeseg.runtime.engines.litert import LiteRT

    tiny.make_artifact(tmp_path / "a")
    monkeypatch.setattr(LiteRT, "status", lambda self: EngineStatus(available=False, reason="gone", fix="pip"))
    # The two libraries share one class, so LiteRT's stands in where tflite-runtime is not installed.
    monkeypatch.setitem(sys.modules, "tflite_runtime", types.ModuleType("tflite_runtime"))
    monkeypatch.setitem(sys.modules, "tflite_runtime.interpreter", library)
    with load(tmp_path / "a", threads=1) as session:
        assert session.engine == "tflite-runtime"
        assert session.segment(tiny.image()).shape == tiny.SIZE


def test_a_misspelt_engine_is_answered_with_the_nearest(tmp_path: Path) -> None:
    tiny.make_artifact(tmp_path / "a")
    with pytest.raises(UnknownName, match='Did you mean "litert"'):
        load(tmp_path / "a", engine="literd")


def test_an_engine_of_another_format_names_those_that_run_it(tmp_path: Path) -> None:
    tiny.make_artifact(tmp_path / "a")
    with pytest.raises(UnsupportedError, match=r"Engines for it: litert, tflite-runtime"):
        load(tmp_path / "a", engine="onnxruntime")


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_openvino_computes_what_it_was_given_and_not_in_bf16(tmp_path: Path, precision: Precision) -> None:
    pytest.importorskip("openvino")
    tiny.make_artifact(tmp_path / "a", file_format="openvino", precision=precision)
    with load(tmp_path / "a", threads=1) as session:
        assert session.options["inference_precision"] == "f32"
    assert sys.modules.get("openvino_telemetry") is None
