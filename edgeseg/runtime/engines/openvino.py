"""OpenVINO: its IR on the CPU plug-in, latency first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeseg.core.artifact import Artifact
from edgeseg.core.privacy import forbid_telemetry
from edgeseg.core.protocols import EngineSession, EngineStatus
from edgeseg.errors import ArtifactError
from edgeseg.runtime.engines.library import library_status, require

if TYPE_CHECKING:
    import openvino


class OpenVINOSession:
    """An IR in one inference request: the input is read where it lies, the output is copied once."""

    def __init__(self, compiled: openvino.CompiledModel, *, settings: dict[str, str]) -> None:
        self.settings = settings
        self._request: openvino.InferRequest | None = compiled.create_infer_request()

    def run(self, tensor: np.ndarray) -> np.ndarray:
        """Return the output, the caller's own copy; the request reuses its buffers."""
        assert self._request is not None, "the session was closed"
        self._request.infer({0: tensor}, share_inputs=True, share_outputs=True)
        return self._request.get_output_tensor(0).data.copy()

    def close(self) -> None:
        self._request = None


class OpenVINO:
    """Intel's OpenVINO on x86 and Arm CPUs.

    Its default precision is the fastest that the CPU has (bf16 or f16), also for a float32 model, and this changes
    labels; so f32 is asked for, whatever the artifact. `Session.options` says what OpenVINO made of it.
    """

    name = "openvino"
    formats = ("openvino",)
    extra = "openvino"

    def status(self) -> EngineStatus:
        """Return the version of OpenVINO, or the command that installs it; never raises."""
        forbid_telemetry()
        return library_status(
            "openvino", title="OpenVINO", distribution="openvino", mend='pip install "edgeseg[openvino]"'
        )

    def options(self) -> dict[str, str]:
        """Return what changes numbers or speed; a session's own settings name its precision."""
        return {"device": "CPU", "performance_hint": "LATENCY"}

    def open(self, artifact: Artifact, *, threads: int) -> EngineSession:
        """Return a session; raises `MissingDependency` or `ArtifactError`."""
        require(self.status())
        import openvino

        config: dict[str, object] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            # Left to itself OpenVINO computes in bfloat16 where the CPU can, for fp16 artifacts too, and labels move.
            "INFERENCE_PRECISION_HINT": "f32",
        }
        try:
            compiled = openvino.Core().compile_model(str(artifact.entry), "CPU", config)
            precision = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise ArtifactError(f"{artifact.entry}: OpenVINO cannot open it: {reason[:300]}") from None
        return OpenVINOSession(compiled, settings={"inference_precision": precision})


ENGINE = OpenVINO()
