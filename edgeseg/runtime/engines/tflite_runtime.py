"""tflite-runtime: LiteRT's small predecessor, for devices that have it already."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from edgeseg.runtime.engines.library import library_status, require
from edgeseg.runtime.engines.tflite_interpreter import open_interpreter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeseg.core.artifact import Artifact
    from edgeseg.core.backend import ResolvedBackend
    from edgeseg.core.proof import ProofLevel
    from edgeseg.core.protocols import EngineSession, EngineStatus


class TFLiteRuntime:
    """Google's `tflite-runtime` (numpy before 2, Python before 3.12).

    Its int8 kernels are several times slower than LiteRT's, and some newer files silently give wrong results:
    verify an artifact before trusting it.
    """

    name = "tflite-runtime"
    formats = ("tflite",)
    extra = ""
    proof: ProofLevel = "engine"
    delegates = ("xnnpack", "builtin")
    choices: Mapping[str, tuple[str, ...]] = {}

    def status(self) -> EngineStatus:
        """Return the version of tflite-runtime, or the command that installs it; never raises."""
        return library_status(
            "tflite_runtime.interpreter",
            title="tflite-runtime",
            distribution="tflite-runtime",
            fix='pip install tflite-runtime "numpy<2"',
        )

    def options(self) -> dict[str, str]:
        """Return what changes numbers or speed."""
        return {"delegate": self.delegates[0]}

    def open(self, artifact: Artifact, *, backend: ResolvedBackend) -> EngineSession:
        """Return a session; raises `MissingDependency` or `ArtifactError`."""
        require(self.status())
        with warnings.catch_warnings():
            # Its constructor announces its own end of support on every use.
            warnings.simplefilter("ignore")
            return open_interpreter(artifact, module="tflite_runtime.interpreter", backend=backend)


ENGINE = TFLiteRuntime()
