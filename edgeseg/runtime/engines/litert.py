"""LiteRT: TFLite files on the CPU through XNNPACK."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeseg.runtime.engines.library import library_status, require
from edgeseg.runtime.engines.tflite_interpreter import open_interpreter

if TYPE_CHECKING:
    from edgeseg.core.artifact import Artifact
    from edgeseg.core.protocols import EngineSession, EngineStatus


class LiteRT:
    """Google's LiteRT (`ai-edge-litert`), by its `Interpreter`: `CompiledModel` needs a CPU newer than Cortex-A72."""

    name = "litert"
    formats = ("tflite",)
    extra = "tflite"

    def status(self) -> EngineStatus:
        """Return the version of LiteRT, or the command that installs it; never raises."""
        return library_status(
            "ai_edge_litert.interpreter",
            title="LiteRT",
            distribution="ai-edge-litert",
            mend='pip install "edgeseg[tflite]"',
        )

    def options(self) -> dict[str, str]:
        """Return what changes numbers or speed."""
        return {"delegate": "xnnpack"}

    def open(self, artifact: Artifact, *, threads: int) -> EngineSession:
        """Return a session; raises `MissingDependency` or `ArtifactError`."""
        require(self.status())
        return open_interpreter(artifact, module="ai_edge_litert.interpreter", threads=threads)


ENGINE = LiteRT()
