"""ONNX Runtime's TensorRT and CUDA providers, with stand-ins for both: neither was run. The profile is a real one."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from contracts import tiny_artifact as tiny

from edgeseg.bench.layer_timing import timing_engine
from edgeseg.cli.main import main
from edgeseg.core import registry
from edgeseg.core.artifact import open_artifact
from edgeseg.core.backend import ResolvedBackend
from edgeseg.core.placement import OpPlacement
from edgeseg.core.protocols import Engine, PlacingEngine
from edgeseg.errors import ArtifactError, MissingDependency, UnknownName, UnsupportedError
from edgeseg.runtime import load
from edgeseg.runtime.engines.onnx_placement import placements_of_nodes, placements_of_run
from edgeseg.runtime.engines.onnx_profile import node_runs, session_options
from edgeseg.runtime.engines.onnx_providers import ONNX_CUDA, ONNX_TENSORRT, OnnxRuntimeGpu
from edgeseg.targets import find_target

if TYPE_CHECKING:
    from pathlib import Path

onnxruntime = pytest.importorskip("onnxruntime")
HERE = "edgeseg.runtime.engines.onnx_providers.cuda_fault"
EVERY = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]


class StandIn:
    """An inference session of a machine with a GPU; `fails` is raised as ONNX Runtime would."""

    made: ClassVar[list[StandIn]] = []
    providers: ClassVar[list[str]] = EVERY
    needs_cpu = False

    def __init__(self, path: str, *, sess_options: Any, providers: list[Any], enable_fallback: int) -> None:
        self.asked, self.fallback = providers, enable_fallback
        self.alone = "1" in _entry(sess_options, "session.disable_cpu_ep_fallback")
        StandIn.made.append(self)
        if path.endswith("broken.onnx"):
            raise ValueError("not a model")
        if self.needs_cpu and self.alone:
            raise RuntimeError("This session contains graph nodes that are assigned to the default CPU EP")

    def get_providers(self) -> list[str]:
        return self.providers

    def get_inputs(self) -> list[Any]:
        return [type("Tensor", (), {"name": "image"})]

    def get_outputs(self) -> list[Any]:
        return [type("Tensor", (), {"name": "logits"})]


@pytest.mark.parametrize("engine", [ONNX_CUDA, ONNX_TENSORRT])
def test_a_gpu_engine_times_no_layers_on_the_cpu(engine: OnnxRuntimeGpu) -> None:
    with pytest.raises(UnknownName, match="engine for layer times"):
        timing_engine(engine.name)


def _entry(options: Any, key: str) -> str:
    try:
        return str(options.get_session_config_entry(key))
    except RuntimeError:
        return ""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make_artifact(tmp_path_factory.mktemp("tiny") / "artifact", file_format="onnx").folder


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> type[StandIn]:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: EVERY)
    monkeypatch.setattr(onnxruntime, "InferenceSession", StandIn)
    monkeypatch.setattr(HERE, lambda: "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(StandIn, "made", [])
    return StandIn


@pytest.mark.parametrize("engine", [ONNX_CUDA, ONNX_TENSORRT])
def test_without_the_provider_or_a_gpu_one_line_says_what_to_do(
    engine: OnnxRuntimeGpu, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(registry.load_plugin("engines", engine.name), Engine)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(MissingDependency, match=rf"no {engine.provider} here, only CPUExec.*onnxruntime-gpu"):
        load(folder, engine=engine.name)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: EVERY)
    monkeypatch.setattr(HERE, lambda: "CUDA finds no GPU here (status 100).")
    with pytest.raises(MissingDependency, match="finds no GPU here"):
        load(folder, engine=engine.name)


def test_it_opens_without_fallback_and_warns_where_ops_need_the_cpu(
    gpu: type[StandIn], folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    artifact, backend = open_artifact(folder), ResolvedBackend(engine=ONNX_CUDA.name, threads=2)
    session = ONNX_CUDA.open(artifact, backend=backend)
    assert session.settings == {"cpu_fallback": "no"}  # type: ignore[attr-defined]
    assert [(made.alone, made.fallback) for made in gpu.made] == [(True, 0)]
    assert gpu.made[0].asked == [("CUDAExecutionProvider", {"use_tf32": "0"})]
    monkeypatch.setattr(gpu, "needs_cpu", True)
    with caplog.at_level(logging.WARNING, logger="edgeseg"):
        session = ONNX_CUDA.open(artifact, backend=backend)
    assert session.settings == {"cpu_fallback": "yes"}  # type: ignore[attr-defined]
    assert "some of its ops run on the CPU" in caplog.text
    assert "--require-delegation 100" in caplog.text


def test_a_provider_that_does_not_start_is_an_error_and_never_the_cpu(
    gpu: type[StandIn], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpu, "providers", ["CPUExecutionProvider"])
    with pytest.raises(UnsupportedError, match=r"could not start its CUDAExecutionProvider.*--engine onnxruntime"):
        ONNX_CUDA.open(open_artifact(folder), backend=ResolvedBackend(engine=ONNX_CUDA.name))


def test_tensorrt_gets_int8_float16_and_a_cache_of_the_artifacts_own(
    gpu: type[StandIn], folder: Path, tmp_path: Path
) -> None:
    artifact = open_artifact(folder)
    ONNX_TENSORRT.open(artifact, backend=ResolvedBackend(engine=ONNX_TENSORRT.name))
    (name, options), (second, _) = gpu.made[0].asked
    assert (name, second) == ("TensorrtExecutionProvider", "CUDAExecutionProvider")
    assert (options["trt_int8_enable"], options["trt_fp16_enable"]) == ("0", "0")
    assert options["trt_engine_cache_path"] == str(tmp_path / "cache/edgeseg/tensorrt" / artifact.sha256[:16])
    half = ResolvedBackend(engine=ONNX_TENSORRT.name, options={"rest": "fp16", "engine_cache": str(tmp_path / "own")})
    ONNX_TENSORRT.open(artifact, backend=half)
    options = gpu.made[1].asked[0][1]
    assert options["trt_fp16_enable"] == "1"
    assert (tmp_path / "own").is_dir()
    (tmp_path / "file").write_text("")
    blocked = ResolvedBackend(engine=ONNX_TENSORRT.name, options={"engine_cache": str(tmp_path / "file" / "x")})
    with pytest.raises(UnsupportedError, match="engine_cache"):
        ONNX_TENSORRT.open(artifact, backend=blocked)


def test_each_node_of_a_real_profile_is_placed_once_where_it_ran(folder: Path) -> None:
    artifact = open_artifact(folder)

    def opened(options: Any) -> Any:
        return onnxruntime.InferenceSession(str(artifact.entry), options, providers=["CPUExecutionProvider"])

    here = placements_of_run(opened, session_options(threads=1), artifact=artifact, units={})
    assert "Conv" in [item.op for item in here]
    assert {(item.unit, item.reason) for item in here} == {("cpu", "ran in CPUExecutionProvider")}
    assert len({item.node for item in here}) == len(here)
    there = placements_of_run(
        opened, session_options(threads=1), artifact=artifact, units={"CPUExecutionProvider": "gpu"}
    )
    assert {(item.unit, item.reason) for item in there} == {("gpu", "")}

    def broken(_options: Any) -> Any:
        raise RuntimeError("no")

    with pytest.raises(ArtifactError, match="cannot profile it: no"):
        placements_of_run(broken, session_options(threads=1), artifact=artifact, units={})


def test_copies_between_memories_are_no_ops_and_a_fused_subgraph_is_one() -> None:
    def event(name: str, op: str, provider: str) -> dict[str, object]:
        return {"cat": "Node", "name": f"{name}_kernel_time", "args": {"op_name": op, "provider": provider}}

    events = [
        {"cat": "Session", "name": "model_run"},
        event("copy", "MemcpyFromHost", "CUDAExecutionProvider"),
        event("trt_0", "TRTKernel_graph_0", "TensorrtExecutionProvider"),
        event("trt_0", "TRTKernel_graph_0", "TensorrtExecutionProvider"),
        event("resize", "Resize", "CPUExecutionProvider"),
    ]
    units = {"TensorrtExecutionProvider": "gpu", "CUDAExecutionProvider": "gpu"}
    found = placements_of_nodes(node_runs(events), units=units)
    assert [(item.op, item.unit) for item in found] == [("TRTKernel_graph_0", "gpu"), ("Resize", "cpu")]


def test_verify_asks_the_engine_and_fails_with_status_3(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["verify", str(folder), "--engine", "onnxruntime", "--require-delegation", "100"]
    assert main(command) == 1
    assert "onnxruntime does not tell where ops ran" in " ".join(capsys.readouterr().err.split())
    assert isinstance(ONNX_TENSORRT, PlacingEngine)
    ran = (
        OpPlacement(op="TRTKernel", node="a", unit="gpu"),
        OpPlacement(op="Resize", node="b", unit="cpu", reason="ran in CPUExecutionProvider"),
    )
    monkeypatch.setattr("edgeseg.verbs.verify.placements_here", lambda *_arguments, **_options: ran)
    assert main(command) == 3
    printed = " ".join(capsys.readouterr().err.split())
    assert "50.0 % of 2 ops run on the accelerator; required: 100 %" in printed
    assert "Resize (ran in CPUExecutionProvider)" in printed
    assert main([*command[:-1], "50", "--json"]) == 0
    assert [item["op"] for item in json.loads(capsys.readouterr().out)["placements"]] == ["TRTKernel", "Resize"]


@pytest.mark.parametrize("name", ["jetson-orin-nano", "jetson-orin-nx", "jetson-agx-orin", "rtx"])
def test_nvidias_targets_offer_both_providers_and_say_that_they_were_not_run(name: str) -> None:
    target = find_target(name)
    offered = {backend.engine: backend for backend in target.backends}
    assert offered["onnxruntime-tensorrt"].format == "tensorrt-onnx"
    assert offered["onnxruntime-cuda"].format == "onnx"
    assert "provider" in target.verified
