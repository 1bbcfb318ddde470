"""OpenVINO: its IR on the CPU plug-in, latency first."""

from __future__ import annotations

import statistics
from collections import deque
from typing import TYPE_CHECKING, Any

from edgeseg.core.openvino_core import openvino_core
from edgeseg.core.vendor_telemetry import forbid_telemetry
from edgeseg.errors import ArtifactError
from edgeseg.runtime.engines.layer_times import LAYOUT_OPS, WARMUP_RUNS
from edgeseg.runtime.engines.library import library_status, require

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import numpy as np
    import openvino
    from numpy.typing import NDArray

    from edgeseg.core.artifact import Artifact
    from edgeseg.core.backend import ResolvedBackend
    from edgeseg.core.proof import ProofLevel
    from edgeseg.core.protocols import EngineSession, EngineStatus, LayerFormat


class OpenVINOSession:
    """An IR in one inference request on all threads, and on demand in a second compilation of one stream a thread.

    An input is not copied, an output is copied once. Two requests of one thread each made the loop over a file 1.2 to
    1.5 times as fast as one request of two threads (Fast-SCNN and LR-ASPP int8, two x86 cores): small layers do not
    parallelize well.

    After an inference the CPU's caches hold the net's data, and every line of Python is slow: 0.4 ms went into
    `infer(inputs)` beside the 14.5 ms of a Fast-SCNN. So the input is set by itself, and the output's view is kept.
    """

    def __init__(
        self,
        compiled: openvino.CompiledModel,
        *,
        tensor_type: type[openvino.Tensor],
        settings: dict[str, str],
        requests: int,
        output: int,
        compile_for_throughput: Callable[[], openvino.CompiledModel],
    ) -> None:
        self.settings = settings
        self.requests = requests
        self._output = output
        self._tensor_type = tensor_type
        self._request: openvino.InferRequest | None = compiled.create_infer_request()
        is_static = compiled.output(output).get_partial_shape().is_static
        self._view = self._request.get_output_tensor(output).data if is_static else None
        self._compile = compile_for_throughput
        self._free: deque[openvino.InferRequest] | None = None

    def run(self, tensor: np.ndarray) -> np.ndarray:
        """Return the output, the caller's own copy; the request reuses its buffers."""
        request = self._request
        assert request is not None, "the session was closed"
        request.set_input_tensor(self._shared(tensor))
        request.infer(share_outputs=True)
        view = request.get_output_tensor(self._output).data if self._view is None else self._view
        result: np.ndarray = view.copy()
        return result

    def start(self, tensor: np.ndarray) -> Callable[[], np.ndarray]:
        """Begin an inference; return the function that waits for the output, a copy, and frees the request."""
        assert self._request is not None, "the session was closed"
        if self._free is None:
            compiled = self._compile()
            self._free = deque(compiled.create_infer_request() for _ in range(self.requests))
        free = self._free
        request = free.popleft()
        shared = self._shared(tensor)
        request.set_input_tensor(shared)
        request.start_async()

        def finish() -> np.ndarray:
            try:
                request.wait()
                output: np.ndarray = request.get_output_tensor(self._output).data.copy()
            finally:
                free.append(request)
            del held[:]
            return output

        held = [shared]  # the request reads it in place
        return finish

    def close(self) -> None:
        """Free the inference requests."""
        self._request = self._free = self._view = None

    def _shared(self, tensor: NDArray[Any]) -> openvino.Tensor:
        """Return a tensor on the array's own memory, or on that of a copy where OpenVINO cannot read the array."""
        return self._tensor_type(tensor if tensor.flags.carray else tensor.copy(), shared_memory=True)


class OpenVINO:
    """Intel's OpenVINO on x86 and Arm CPUs.

    Its default precision is the fastest that the CPU has (bf16 or f16), also for a float32 model, which changes
    labels; so f32 is requested for every artifact. `Session.options` says which precision OpenVINO chose.
    """

    name = "openvino"
    formats = ("openvino",)
    extra = "openvino"
    proof: ProofLevel = "engine"
    delegates = ("cpu",)
    choices: Mapping[str, tuple[str, ...]] = {"inference_precision": ("f32", "bf16", "f16")}
    layer_format: LayerFormat = "onnx"

    def status(self) -> EngineStatus:
        """Return the version of OpenVINO, or the command that installs it; never raises."""
        forbid_telemetry()
        return library_status(
            "openvino", title="OpenVINO", distribution="openvino", fix='pip install "edgeseg[openvino]"'
        )

    def options(self) -> dict[str, str]:
        """Return what changes numbers or speed; a session's own settings name its precision."""
        return {"device": "CPU", "performance_hint": "LATENCY"}

    def open(self, artifact: Artifact, *, backend: ResolvedBackend) -> EngineSession:
        """Return a session; raises `MissingDependency` or `ArtifactError`."""
        require(self.status())
        from openvino import Tensor

        core, threads = openvino_core(), backend.threads or 1
        config: dict[str, object] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            # By default OpenVINO computes in bfloat16 where the CPU can, for fp16 artifacts too, and labels change.
            "INFERENCE_PRECISION_HINT": backend.options.get("inference_precision", "f32"),
        }
        overlapping = {**config, "PERFORMANCE_HINT": "THROUGHPUT", "NUM_STREAMS": threads}
        try:
            model = _fixed(core, artifact)
            compiled = core.compile_model(model, "CPU", config)
            precision = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise ArtifactError(f"{artifact.entry}: OpenVINO cannot open it: {reason[:300]}") from None
        return OpenVINOSession(
            compiled,
            tensor_type=Tensor,
            settings={"inference_precision": precision},
            # One more than run at once: the next starts while the output of the last is read.
            requests=threads + 1,
            output=artifact.manifest.output_position,
            compile_for_throughput=lambda: core.compile_model(model, "CPU", overlapping),
        )

    def layer_ms(self, file: Path, *, threads: int, image: NDArray[Any], runs: int) -> float:
        """Return the median sum of the steps that OpenVINO's profiler reports, but layout changes, in float32."""
        config: dict[str, object] = {
            "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": "f32", "PERF_COUNT": True,
        }  # fmt: skip
        request = openvino_core().compile_model(str(file), "CPU", config).create_infer_request()
        times = []
        for _ in range(runs + WARMUP_RUNS):
            request.infer({0: image})
            steps = [step for step in request.profiling_info if step.node_type not in LAYOUT_OPS]
            times.append(sum(step.real_time.total_seconds() for step in steps) * 1e3)
        return float(statistics.median(times[WARMUP_RUNS:]))


def _fixed(core: openvino.Core, artifact: Artifact) -> openvino.Model | str:
    """Return the IR's path, or the model at the manifest's size where a foreign IR has dynamic shapes."""
    file = artifact.manifest.file
    if file is None:
        return str(artifact.entry)
    model = core.read_model(str(artifact.entry))
    if model.input(0).get_partial_shape().is_dynamic:
        model.reshape({0: list(file.input.shape)})
    return model


ENGINE = OpenVINO()
