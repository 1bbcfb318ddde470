"""ONNX Runtime: ONNX files on the CPU execution provider."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeseg.errors import ArtifactError
from edgeseg.runtime.engines.library import library_status, require

if TYPE_CHECKING:
    import numpy as np
    import onnxruntime

    from edgeseg.core.artifact import Artifact
    from edgeseg.core.protocols import EngineSession, EngineStatus

FATAL = 4


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

    def status(self) -> EngineStatus:
        """Return the version of ONNX Runtime, or the command that installs it; never raises."""
        return library_status(
            "onnxruntime", title="ONNX Runtime", distribution="onnxruntime", mend='pip install "edgeseg[onnx]"'
        )

    def options(self) -> dict[str, str]:
        """Return what changes numbers or speed."""
        return {"provider": "CPUExecutionProvider", "graph_optimization": "all", "inter_op_threads": "1"}

    def open(self, artifact: Artifact, *, threads: int) -> EngineSession:
        """Return a session; raises `MissingDependency` or `ArtifactError`."""
        require(self.status())
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
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
