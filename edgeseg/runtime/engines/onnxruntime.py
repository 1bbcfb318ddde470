"""ONNX Runtime: ONNX files on the CPU execution provider."""

from __future__ import annotations

import statistics
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from edgeseg.errors import ArtifactError
from edgeseg.runtime.engines.layer_times import LAYOUT_OPS, WARMUP_RUNS
from edgeseg.runtime.engines.library import library_status, require
from edgeseg.runtime.engines.onnx_profile import profiled_runs, session_options

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    import onnxruntime
    from numpy.typing import NDArray

    from edgeseg.core.artifact import Artifact
    from edgeseg.core.backend import ResolvedBackend
    from edgeseg.core.proof import ProofLevel
    from edgeseg.core.protocols import EngineSession, EngineStatus, LayerFormat

LEVELS = {
    "all": "ORT_ENABLE_ALL",
    "extended": "ORT_ENABLE_EXTENDED",
    "basic": "ORT_ENABLE_BASIC",
    "disabled": "ORT_DISABLE_ALL",
}
"""The option `graph_optimization`, by the names of ONNX Runtime's documentation."""
EXACT_ON_X86 = ("session.x64quantprecision", "1")
"""On x86 CPUs without VNNI, uint8 times int8 overflows 16 bits in ONNX Runtime's kernels: the first layer of a pruned
Fast-SCNN fell from 41 to 22 dB. With this setting it makes weights uint8 there, which took 5 % longer; elsewhere it
changes nothing. See onnxruntime_session_options_config_keys.h.
"""


class OnnxRuntimeSession:
    """An ONNX file in an inference session: the input is not copied, the output belongs to the caller."""

    def __init__(self, session: onnxruntime.InferenceSession, *, input_name: str, output_name: str) -> None:
        self._session: onnxruntime.InferenceSession | None = session
        self._input_name = input_name
        self._output_names = [output_name]

    def run(self, tensor: np.ndarray) -> np.ndarray:
        """Return the output."""
        assert self._session is not None, "the session was closed"
        result: np.ndarray = self._session.run(self._output_names, {self._input_name: tensor})[0]
        return result

    def close(self) -> None:
        """Free the session."""
        self._session = None


class OnnxRuntime:
    """Microsoft's ONNX Runtime, every graph optimisation on, one operator at a time."""

    name = "onnxruntime"
    formats: tuple[str, ...] = ("onnx",)
    extra = "onnx"
    proof: ProofLevel = "engine"
    delegates = ("cpu",)
    choices: Mapping[str, tuple[str, ...]] = {"graph_optimization": tuple(LEVELS)}
    layer_format: LayerFormat = "onnx"

    def status(self) -> EngineStatus:
        """Return the version of ONNX Runtime, or the command that installs it; never raises."""
        return library_status(
            "onnxruntime", title="ONNX Runtime", distribution="onnxruntime", fix='pip install "edgeseg[onnx]"'
        )

    def options(self) -> dict[str, str]:
        """Return what changes numbers or speed."""
        return {
            "provider": "CPUExecutionProvider",
            "graph_optimization": "all",
            "inter_op_threads": "1",
            "x86_int8": "exact",
        }

    def open(self, artifact: Artifact, *, backend: ResolvedBackend) -> EngineSession:
        """Return a session; raises `MissingDependency` or `ArtifactError`."""
        require(self.status())
        import onnxruntime

        level = getattr(onnxruntime.GraphOptimizationLevel, LEVELS[backend.options.get("graph_optimization", "all")])
        try:
            session = inference_session(str(artifact.entry), threads=backend.threads or 1, level=level)
        except Exception as error:  # noqa: BLE001 - its exceptions share no base class
            reason = " ".join(str(error).split())
            raise ArtifactError(f"{artifact.entry}: ONNX Runtime cannot open it: {reason[:300]}") from None
        output = session.get_outputs()[artifact.manifest.output_position]
        return OnnxRuntimeSession(session, input_name=session.get_inputs()[0].name, output_name=output.name)

    def layer_ms(self, file: Path, *, threads: int, image: NDArray[Any], runs: int) -> float:
        """Return the sum of the median times of the steps that ONNX Runtime's profiler reports, but layout changes."""
        import onnxruntime

        def opened(options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
            return onnxruntime.InferenceSession(str(file), sess_options=options, providers=["CPUExecutionProvider"])

        steps: dict[str, list[float]] = {}
        for run in profiled_runs(opened, session_options(threads=threads), image=image, runs=runs + WARMUP_RUNS):
            if run.op not in LAYOUT_OPS:
                steps.setdefault(run.node, []).append(run.ms)
        return sum(statistics.median(times[WARMUP_RUNS:]) for times in steps.values())


def inference_session(
    model: str | bytes, *, threads: int, level: onnxruntime.GraphOptimizationLevel | None = None
) -> onnxruntime.InferenceSession:
    """Return a session of a file or of a serialized model on the CPU, with exact int8 on x86 where the file allows it.

    Files of edgeseg 0.1 do not: their weights share zero points, which ONNX Runtime's rewriting does not take.

    Raises:
        Exception: whatever ONNX Runtime raises for a model that it cannot open.
    """
    import onnxruntime

    def opened(*, exact: bool) -> onnxruntime.InferenceSession:
        options = session_options(threads=threads)
        if level is not None:
            options.graph_optimization_level = level
        if exact:
            options.add_session_config_entry(*EXACT_ON_X86)
        return onnxruntime.InferenceSession(model, sess_options=options, providers=["CPUExecutionProvider"])

    try:
        return opened(exact=True)
    except Exception:  # noqa: BLE001 - its exceptions share no base class
        return opened(exact=False)


class OnnxReference(OnnxRuntime):
    """ONNX Runtime as an evaluator of files that another engine runs on the device, such as TensorRT's or QNN's.

    Every op runs as the file says: with its optimizations, ONNX Runtime 1.31 gave 14.7 dB for symmetric int8 pairs.
    """

    name = "onnx-reference"
    formats = ("tensorrt-onnx", "htp-onnx")
    proof: ProofLevel = "reference"
    choices: Mapping[str, tuple[str, ...]] = {}

    def options(self) -> dict[str, str]:
        """Return what changes numbers or speed."""
        return {**super().options(), "graph_optimization": "disabled"}

    def open(self, artifact: Artifact, *, backend: ResolvedBackend) -> EngineSession:
        """Return a session without graph optimizations; raises `MissingDependency` or `ArtifactError`."""
        return super().open(artifact, backend=replace(backend, options={"graph_optimization": "disabled"}))


REFERENCE = OnnxReference()
ENGINE = OnnxRuntime()
