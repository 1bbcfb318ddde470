"""LiteRT: TFLite files on the CPU through XNNPACK."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Any

from edgeseg.runtime.engines.layer_times import WARMUP_RUNS
from edgeseg.runtime.engines.library import library_status, require
from edgeseg.runtime.engines.tflite_interpreter import open_interpreter

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from edgeseg.core.artifact import Artifact
    from edgeseg.core.backend import ResolvedBackend
    from edgeseg.core.proof import ProofLevel
    from edgeseg.core.protocols import EngineSession, EngineStatus, LayerFormat


class LiteRT:
    """Google's LiteRT (`ai-edge-litert`) through its `Interpreter`.

    Its `CompiledModel` needs a CPU newer than Cortex-A72.
    The delegate "builtin" leaves XNNPACK out: slower, for comparing kernels.
    """

    name = "litert"
    formats = ("tflite",)
    extra = "tflite"
    proof: ProofLevel = "engine"
    delegates = ("xnnpack", "builtin")
    choices: Mapping[str, tuple[str, ...]] = {}
    layer_format: LayerFormat = "tflite"

    def status(self) -> EngineStatus:
        """Return the version of LiteRT, or the command that installs it; never raises."""
        return library_status(
            "ai_edge_litert.interpreter",
            title="LiteRT",
            distribution="ai-edge-litert",
            fix='pip install "edgeseg[tflite]"',
        )

    def options(self) -> dict[str, str]:
        """Return what changes numbers or speed."""
        return {"delegate": self.delegates[0]}

    def open(self, artifact: Artifact, *, backend: ResolvedBackend) -> EngineSession:
        """Return a session; raises `MissingDependency` or `ArtifactError`."""
        require(self.status())
        return open_interpreter(artifact, module="ai_edge_litert.interpreter", backend=backend)

    def layer_ms(self, file: Path, *, threads: int, image: NDArray[Any], runs: int) -> float:
        """Return the median time of an inference: LiteRT keeps one layout, so that a layer is all there is."""
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(model_path=str(file), num_threads=threads)
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
        times = []
        for _ in range(runs + WARMUP_RUNS):
            start = time.perf_counter_ns()
            interpreter.invoke()
            times.append((time.perf_counter_ns() - start) / 1e6)
        return statistics.median(times[WARMUP_RUNS:])


ENGINE = LiteRT()
