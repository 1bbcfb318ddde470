"""tflite-runtime: LiteRT's small forerunner, for devices that have it already."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from edgeseg.runtime.engines.library import library_status, require
from edgeseg.runtime.engines.tflite_interpreter import open_interpreter

if TYPE_CHECKING:
    from edgeseg.core.artifact import Artifact
    from edgeseg.core.protocols import EngineSession, EngineStatus


class TFLiteRuntime:
    """Google's `tflite-runtime` (numpy before 2, Python before 3.12).

    Its int8 kernels are several times slower than LiteRT's, and some newer files run to wrong results without a word:
    verify an artifact before trusting it.
    """

    name = "tflite-runtime"
    formats = ("tflite",)
    extra = ""

    def status(self) -> EngineStatus:
        """Return the version of tflite-runtime, or the command that installs it; never raises."""
        return library_status(
            "tflite_runtime.interpreter",
            title="tflite-runtime",
            distribution="tflite-runtime",
            mend='pip install tflite-runtime "numpy<2"',
        )

    def options(self) -> dict[str, str]:
        """Return what changes numbers or speed."""
        return {"delegate": "xnnpack"}

    def open(self, artifact: Artifact, *, threads: int) -> EngineSession:
        """Return a session; raises `MissingDependency` or `ArtifactError`."""
        require(self.status())
        with warnings.catch_warnings():
            # Its constructor announces its own end of support on every use.
            warnings.simplefilter("ignore")
            return open_interpreter(artifact, module="tflite_runtime.interpreter", threads=threads)


ENGINE = TFLiteRuntime()
