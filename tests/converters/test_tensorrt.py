"""TensorRT engines, with stand-ins for trtexec, TensorRT and CUDA: the real ones were not run."""

from __future__ import annotations

import ctypes
import dataclasses
import json
import os
import sys
import types
from typing import TYPE_CHECKING

import numpy as np
import pytest
from contracts import tiny_artifact as tiny
from contracts.compiler_contract import CompilerContract

from edgeseg.converters.tensorrt import COMPILER, TensorRTCompiler
from edgeseg.converters.tensorrt.compile import layers_in, stamp_of, trtexec_arguments
from edgeseg.core.artifact import Artifact
from edgeseg.core.engine_stamp import EngineStamp, stamp_differences
from edgeseg.core.files import read_json
from edgeseg.core.placement import delegated
from edgeseg.deploy.compile import compile_artifact
from edgeseg.errors import (
    ArtifactError,
    ConversionError,
    InputError,
    MissingDependency,
    UnknownName,
    UnsupportedError,
)
from edgeseg.runtime import load
from edgeseg.runtime.engines import cuda as cuda_module
from edgeseg.runtime.engines.tensorrt import ENGINE

if TYPE_CHECKING:
    from pathlib import Path

TRTEXEC = """#!{python}
import json, os, shutil, sys
given = dict(item[2:].partition("=")[::2] for item in sys.argv[1:])
print("[I] === Device Information ===")
print("[I] Selected Device: Orin")
print("[I] TensorRT version: 10.3.0")
if os.environ.get("TRTEXEC") == "fail":
    print("[E] Error[10]: Could not find any implementation for node conv")
    sys.exit(1)
shutil.copyfile(given["onnx"], given["saveEngine"])
conv = {{"Name": "conv", "LayerType": "CaskConvolution", "Outputs": [{{"Format/Datatype": "Int8 NCHW"}}]}}
json.dump({{"Layers": [conv, "reshape"]}}, open(given["exportLayerInfo"], "w"))
print("&&&& PASSED")
"""


@pytest.fixture(autouse=True)
def _trtexec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin" / "trtexec"
    program.parent.mkdir()
    program.write_text(TRTEXEC.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")


def source(folder: Path) -> Artifact:
    return tiny.make_artifact(folder, file_format="tensorrt-onnx")


class TestTensorRT(CompilerContract):
    def compiler(self) -> TensorRTCompiler:
        return COMPILER

    def source(self, folder: Path) -> Artifact:
        return source(folder)


class FakeCuda:
    """CUDA's calls on ordinary memory; copies happen at once."""

    def __init__(self) -> None:
        self.kept: dict[int, ctypes.Array] = {}

    def cuInit(self, _flags: int) -> int:  # noqa: N802 - CUDA's name
        return 0

    def cuDeviceGetName(self, name: ctypes.Array, _size: int, _device: int) -> int:  # noqa: N802 - CUDA's name
        name.value = b"Orin"
        return 0

    def cudaMalloc(self, place: object, size: ctypes.c_size_t, _flags: int = 0) -> int:  # noqa: N802 - CUDA's name
        memory = ctypes.create_string_buffer(size.value)
        self.kept[ctypes.addressof(memory)] = memory
        place._obj.value = ctypes.addressof(memory)  # type: ignore[attr-defined]
        return 0

    cudaHostAlloc = cudaMalloc  # noqa: N815 - CUDA's name

    def cudaFree(self, place: ctypes.c_void_p) -> int:  # noqa: N802 - CUDA's name
        del self.kept[place.value or 0]
        return 0

    cudaFreeHost = cudaFree  # noqa: N815 - CUDA's name

    def cudaStreamCreate(self, place: object) -> int:  # noqa: N802 - CUDA's name
        place._obj.value = 7  # type: ignore[attr-defined]
        return 0

    def cudaStreamDestroy(self, _stream: object) -> int:  # noqa: N802 - CUDA's name
        return 0

    cudaStreamSynchronize = cudaStreamDestroy  # noqa: N815 - CUDA's name

    def cudaMemcpyAsync(self, target: object, source: object, size: ctypes.c_size_t, *_: object) -> int:  # noqa: N802
        ctypes.memmove(target, source, size.value)  # type: ignore[arg-type]
        return 0


def fake_tensorrt(version: str) -> types.ModuleType:
    """Return a module whose engines are ONNX files, run by ONNX Runtime between the addresses that are set."""
    import onnxruntime

    module = types.ModuleType("tensorrt")
    module.__version__ = version  # type: ignore[attr-defined]

    class Engine:
        num_io_tensors = 2

        def __init__(self, data: bytes) -> None:
            self.session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
            self.tensors = {item.name: item for item in (*self.session.get_inputs(), *self.session.get_outputs())}
            self.addresses: dict[str, int] = {}

        def get_tensor_name(self, index: int) -> str:
            return list(self.tensors)[index]

        def get_tensor_mode(self, name: str) -> str:
            return "in" if name == "image" else "out"

        def get_tensor_shape(self, name: str) -> list[int]:
            return self.tensors[name].shape

        def create_execution_context(self) -> Engine:
            return self

        def set_tensor_address(self, name: str, address: int) -> None:
            self.addresses[name] = address

        def execute_async_v3(self, stream: int) -> bool:
            assert stream == 7
            shape = self.tensors["image"].shape
            data = (ctypes.c_uint8 * int(np.prod(shape))).from_address(self.addresses["image"])
            found = self.session.run(None, {"image": np.frombuffer(data, np.uint8).reshape(shape)})[0]
            ctypes.memmove(self.addresses["logits"], found.tobytes(), found.nbytes)
            return True

    class Runtime:
        def __init__(self, _logger: object) -> None: ...

        def deserialize_cuda_engine(self, data: bytes) -> Engine | None:
            return Engine(data) if len(data) > 100 else None

    module.Runtime, module.Logger = Runtime, type("Logger", (), {"ERROR": 1, "__init__": lambda self, level: None})
    module.TensorIOMode = types.SimpleNamespace(INPUT="in")  # type: ignore[attr-defined]
    return module


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    fake = FakeCuda()
    monkeypatch.setattr(cuda_module, "load_library", lambda _names: fake)
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt("10.3.0.26"))
    return fake


def test_built_on_the_device_it_is_stamped_proven_and_run(tmp_path: Path, device: FakeCuda) -> None:
    made = compile_artifact(source(tmp_path / "source").folder, target="jetson-orin-nano", out=tmp_path / "out")
    manifest = made.manifest
    assert (manifest.proof.level, manifest.proof.engine) == ("engine", "tensorrt")
    assert [(item.op, item.unit, item.dtype) for item in manifest.placements] == [
        ("CaskConvolution", "gpu", "int8"),
        ("layer", "gpu", ""),
    ]
    assert delegated(manifest.placements) == 1.0
    stamp = read_json(EngineStamp, made.folder / "engine.json")
    assert (stamp.gpu, stamp.tensorrt) == ("Orin", "10.3.0")
    with load(made.folder) as session:
        tensor = session.preprocess(tiny.image())
        np.testing.assert_allclose(session.infer(tensor).transpose(0, 2, 3, 1), tiny.logits_of(tensor), atol=2e-4)
    assert not device.kept
    assert not (tmp_path / "logs").exists()


def test_an_engine_that_does_not_fit_frees_what_it_took(
    tmp_path: Path, device: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = compile_artifact(source(tmp_path / "source").folder, compiler="tensorrt", out=tmp_path / "out")
    streams = []
    monkeypatch.setattr(device, "cudaStreamDestroy", lambda stream: streams.append(stream.value) or 0)
    with monkeypatch.context() as patch:
        patch.setattr(FakeCuda, "cudaMalloc", lambda *_: 2)  # cudaErrorMemoryAllocation
        with pytest.raises(ArtifactError, match="status 2"):
            load(made.folder)
    assert not device.kept
    manifest = made.manifest
    wider = dataclasses.replace(manifest.outputs[0], shape=(*manifest.outputs[0].shape[:-1], 99))
    other = Artifact(folder=made.folder, manifest=dataclasses.replace(manifest, outputs=(wider,)))
    with pytest.raises(ArtifactError, match="in the engine and"):
        ENGINE.open(other, backend=manifest.backend)
    assert not device.kept
    assert streams == [7, 7]


def test_another_gpu_or_version_is_refused_with_what_differs(
    tmp_path: Path, device: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = compile_artifact(source(tmp_path / "source").folder, compiler="tensorrt", out=tmp_path / "out")
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt("10.7.0"))
    with pytest.raises(UnsupportedError, match=r"TensorRT: built with 10\.3\.0, here 10\.7\.0.*--with tensorrt"):
        load(made.folder)
    one = EngineStamp(schema=1, gpu="Orin", tensorrt="10.3.0", driver="540.4")
    other = EngineStamp(schema=1, gpu="NVIDIA RTX", tensorrt="10.3.0.26", driver="")
    assert stamp_differences(one, other) == [
        "GPU: built with Orin, here NVIDIA RTX",
        "driver: built with 540.4, here none",
    ]


def test_without_tensorrt_the_engine_is_proven_by_its_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    made = compile_artifact(source(tmp_path / "source").folder, compiler="tensorrt", out=tmp_path / "out")
    assert made.manifest.proof.level == "source"
    assert "TensorRT is not installed" in made.manifest.proof.reason
    with pytest.raises(MissingDependency, match="TensorRT is not installed"):
        load(made.folder)


def test_trtexecs_own_error_is_one_line_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRTEXEC", "fail")
    with pytest.raises(
        ConversionError, match=r"trtexec failed.*Could not find any implementation.*trtexec-\w+\.log"
    ) as caught:
        compile_artifact(source(tmp_path / "source").folder, compiler="tensorrt", out=tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin", "source"]


def test_away_from_the_device_the_way_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(MissingDependency, match=r"trtexec is not here.*on the device that runs it"):
        COMPILER.check()


def test_options_and_output_are_checked(tmp_path: Path) -> None:
    assert trtexec_arguments({}, int8=True) == ["--int8", "--fp16"]
    assert trtexec_arguments({}, int8=False) == ["--fp16"], "--best would add int8 with made-up ranges"
    assert trtexec_arguments({"rest": "fp32", "workspace_mib": "512"}, int8=False) == ["--memPoolSize=workspace:512MiB"]
    with pytest.raises(UnknownName, match="fp16"):
        trtexec_arguments({"rest": "fp17"}, int8=True)
    with pytest.raises(InputError, match="workspace_mib"):
        trtexec_arguments({"workspace_mib": "-1"}, int8=True)
    with pytest.raises(ConversionError, match="GPU"):
        stamp_of("hello")
    (tmp_path / "layers.json").write_text(json.dumps({"Layers": []}))
    with pytest.raises(ConversionError, match="lists no layers"):
        layers_in(tmp_path / "layers.json")
