"""TensorRT on Jetson and RTX, through its Python package and CUDA's runtime, without torch. It never ran on a GPU."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeseg.core.engine_stamp import STAMP_FILE, EngineStamp, gpu_driver, stamp_differences
from edgeseg.core.files import read_json
from edgeseg.core.protocols import EngineStatus
from edgeseg.errors import ArtifactError, UnsupportedError
from edgeseg.runtime.engines.cuda import Cuda, PinnedBuffer, cuda_fault
from edgeseg.runtime.engines.library import library_status, require

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from edgeseg.core.artifact import Artifact
    from edgeseg.core.backend import ResolvedBackend
    from edgeseg.core.proof import ProofLevel
    from edgeseg.core.protocols import EngineSession
    from edgeseg.core.spec import TensorSpec


class TensorRTSession:
    """An engine's execution context with one pinned host buffer and one device buffer for each of input and output."""

    def __init__(self, engine: Any, *, cuda: Cuda, artifact: Artifact, is_input: Any) -> None:
        self._context: Any = engine.create_execution_context()
        self._engine, self._cuda = engine, cuda
        self._stream = cuda.stream()
        self._buffers: list[PinnedBuffer] = []
        try:
            self._bind(artifact, is_input=is_input)
        except BaseException:
            self.close()
            raise
        output = artifact.manifest.outputs[0]
        self._shape, self._dtype = output.shape, output.dtype

    def _bind(self, artifact: Artifact, *, is_input: Any) -> None:
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        inputs = [name for name in names if is_input(name)]
        outputs = [name for name in names if not is_input(name)]
        manifest = artifact.manifest
        if len(inputs) != 1 or len(outputs) <= manifest.output_position:
            raise ArtifactError(f"{artifact.entry}: the engine has {len(inputs)} inputs and {len(outputs)} outputs.")
        self._input = self._bound(inputs[0], manifest.inputs[0], artifact)
        self._output = self._bound(outputs[manifest.output_position], manifest.outputs[0], artifact)

    def _bound(self, name: str, tensor: TensorSpec, artifact: Artifact) -> PinnedBuffer:
        shape = tuple(self._engine.get_tensor_shape(name))
        if shape != tensor.shape:
            raise ArtifactError(
                f"{artifact.entry}: {name} is {shape} in the engine and {tensor.shape} in the manifest."
            )
        buffer = self._cuda.buffer(int(np.prod(shape)) * np.dtype(tensor.dtype).itemsize)
        self._buffers.append(buffer)
        self._context.set_tensor_address(name, buffer.device)
        return buffer

    def run(self, tensor: NDArray[Any]) -> NDArray[Any]:
        """Return the output, a copy; raises `ArtifactError` if TensorRT or CUDA fails."""
        assert self._context is not None, "the session was closed"
        self._input.bytes()[:] = np.ascontiguousarray(tensor).reshape(-1).view(np.uint8)
        self._cuda.to_device(self._input, self._stream)
        if not self._context.execute_async_v3(self._stream):
            raise ArtifactError("TensorRT could not run the engine.")
        self._cuda.to_host(self._output, self._stream)
        self._cuda.wait(self._stream)
        return self._output.bytes().view(self._dtype).reshape(self._shape).copy()

    def close(self) -> None:
        """Free the buffers and the stream."""
        if self._context is None:
            return
        self._context = self._engine = None
        for buffer in self._buffers:
            self._cuda.free(buffer)
        self._cuda.free_stream(self._stream)


class TensorRT:
    """NVIDIA's TensorRT. An engine opens on the GPU, with the TensorRT and the driver that it was built with."""

    name = "tensorrt"
    formats = ("tensorrt-engine",)
    extra = "onnx"
    proof: ProofLevel = "engine"
    delegates = ("gpu",)
    choices: Mapping[str, tuple[str, ...]] = {}

    def status(self) -> EngineStatus:
        """Return the version of TensorRT, or why it does not run here; never raises."""
        fix = "JetPack brings it (apt install python3-libnvinfer); on a PC: pip install tensorrt"
        found = library_status("tensorrt", title="TensorRT", distribution="tensorrt", fix=fix)
        fault = cuda_fault() if found.available else ""
        return EngineStatus(available=False, reason=fault, fix="Run it on the device.") if fault else found

    def options(self) -> dict[str, str]:
        """Return what changes numbers or speed."""
        return {"host_buffers": "pinned"}

    def open(self, artifact: Artifact, *, backend: ResolvedBackend) -> EngineSession:
        """Return a session.

        Raises:
            MissingDependency: TensorRT or CUDA is not here.
            UnsupportedError: the engine was built on another machine; with what differs.
            ArtifactError: TensorRT does not open the file.
        """
        require(self.status())
        library: Any = importlib.import_module("tensorrt")
        cuda = Cuda()
        here = EngineStamp(schema=1, gpu=cuda.device_name(), tensorrt=str(library.__version__), driver=gpu_driver())
        different = stamp_differences(read_json(EngineStamp, artifact.folder / STAMP_FILE), here)
        if different:
            raise UnsupportedError(
                f"{artifact.folder}: its TensorRT engine is for another machine ({'; '.join(different)}). Build it "
                "again here, from the artifact it was compiled from: edgeseg compile ARTIFACT --with tensorrt"
            )
        runtime = library.Runtime(library.Logger(library.Logger.ERROR))
        engine = runtime.deserialize_cuda_engine(artifact.entry.read_bytes())
        if engine is None:
            raise ArtifactError(f"{artifact.entry}: TensorRT cannot open it: damaged, or of another version.")
        return TensorRTSession(
            engine,
            cuda=cuda,
            artifact=artifact,
            is_input=lambda name: engine.get_tensor_mode(name) == library.TensorIOMode.INPUT,
        )


ENGINE = TensorRT()
