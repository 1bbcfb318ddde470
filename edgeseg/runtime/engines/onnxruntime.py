"""ONNX Runtime: ONNX files on the CPU execution provider."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeseg.errors import ArtifactError
from edgeseg.runtime.engines.library import library_status, require

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import onnxruntime

    from edgeseg.core.artifact import Artifact
    from edgeseg.core.backend import ResolvedBackend
    from edgeseg.core.proof import ProofLevel
    from edgeseg.core.protocols import EngineSession, EngineStatus

FATAL = 4
LEVELS = {
    "all": "ORT_ENABLE_ALL",
    "extended": "ORT_ENABLE_EXTENDED",
    "basic": "ORT_ENABLE_BASIC",
    "disabled": "ORT_DISABLE_ALL",
}
"""The option `graph_optimization`, by the names of ONNX Runtime's documentation."""


class OnnxRuntimeSession:
    """An ONNX file in an inference session: the input is read where it lies, the output is the caller's own."""

    def __init__(self, session: onnxruntime.InferenceSession, *, input_name: str, output_name: str) -> None:
        self._session: onnxruntime.InferenceSession | None = session
        self._input_name = input_name
        self._output_names = [output_name]

    def run(self, tensor: np.ndarray) -> np.ndarray:
        """Return the output."""
        assert self._session is not None, "the session was closed"
        return self._session.run(self._output_names, {self._input_name: tensor})[0]

    def close(self) -> None:
        self._session = None


class OnnxRuntime:
    """Microsoft's ONNX Runtime, every graph optimisation on, one operator at a time."""

    name = "onnxruntime"
    formats = ("onnx",)
    extra = "onnx"
    proof: ProofLevel = "engine"
    delegates = ("cpu",)
    choices: Mapping[str, tuple[str, ...]] = {"graph_optimization": tuple(LEVELS)}

    def status(self) -> EngineStatus:
        """Return the version of ONNX Runtime, or the command that installs it; never raises."""
        return library_status(
            "onnxruntime", title="ONNX Runtime", distribution="onnxruntime", mend='pip install "edgeseg[onnx]"'
        )

    def options(self) -> dict[str, str]:
        """Return what changes numbers or speed."""
        return {"provider": "CPUExecutionProvider", "graph_optimization": "all", "inter_op_threads": "1"}

    def open(self, artifact: Artifact, *, backend: ResolvedBackend) -> EngineSession:
        """Return a session; raises `MissingDependency` or `ArtifactError`."""
        require(self.status())
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = backend.threads or 1
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        level = backend.options.get("graph_optimization", "all")
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, LEVELS[level])
        options.log_severity_level = FATAL  # what it logs as an error, it also raises
        try:
            session = onnxruntime.InferenceSession(
                str(artifact.entry), sess_options=options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its exceptions share no base class
            reason = " ".join(str(error).split())
            raise ArtifactError(f"{artifact.entry}: ONNX Runtime cannot open it: {reason[:300]}") from None
        return OnnxRuntimeSession(
            session, input_name=session.get_inputs()[0].name, output_name=session.get_outputs()[0].name
        )


ENGINE = OnnxRuntime()
