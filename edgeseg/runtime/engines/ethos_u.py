"""Arm Ethos-U under Linux (NXP i.MX 93): compiled TFLite through the Ethos-U delegate. It has not been run."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.core.protocols import EngineStatus
from edgeseg.runtime.engines.library import library_status, require
from edgeseg.runtime.engines.tflite_interpreter import open_interpreter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeseg.core.artifact import Artifact
    from edgeseg.core.backend import ResolvedBackend
    from edgeseg.core.proof import ProofLevel
    from edgeseg.core.protocols import EngineSession

DELEGATE = Path("/usr/lib/libethosu_delegate.so")
"""Where NXP's Linux for i.MX installs it."""
_LIBRARIES = ("ai_edge_litert.interpreter", "tflite_runtime.interpreter")


class EthosU:
    """The interpreter of LiteRT or tflite-runtime with the vendor's delegate, which takes the compiled operators.

    On a microcontroller (Corstone-300 and -320) the file is run by TFLite Micro in your own firmware, not by edgeseg.
    """

    name = "ethos-u"
    formats = ("ethos-u",)
    extra = "tflite"
    proof: ProofLevel = "engine"
    delegates = ("ethos-u",)
    choices: Mapping[str, tuple[str, ...]] = {}

    def status(self) -> EngineStatus:
        """Return the library's version, or why it does not run here; never raises."""
        if not DELEGATE.is_file():
            return EngineStatus(
                available=False,
                reason=f"there is no Ethos-U delegate here ({DELEGATE.name}): such a file runs on its own chip only.",
                fix="Copy the artifact to the board, where NXP's Linux has it.",
            )
        return library_status(
            _library(), title="LiteRT", distribution="ai-edge-litert", fix='pip install "edgeseg[tflite]"'
        )

    def options(self) -> dict[str, str]:
        """Return what changes numbers or speed."""
        return {"delegate": "ethos-u"}

    def open(self, artifact: Artifact, *, backend: ResolvedBackend) -> EngineSession:
        """Return a session; raises `MissingDependency`, or `ArtifactError` if the delegate refuses the file."""
        require(self.status())
        return open_interpreter(artifact, module=_library(), backend=backend, delegate=DELEGATE)


def _library() -> str:
    """Return the first interpreter that is installed; NXP ships tflite-runtime."""
    found = (name for name in _LIBRARIES if importlib.util.find_spec(name.split(".", maxsplit=1)[0]) is not None)
    return next(found, _LIBRARIES[0])


ENGINE = EthosU()
