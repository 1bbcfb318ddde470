"""The reference evaluator: what a Core ML package computes, on any machine, in numpy."""

from __future__ import annotations

from importlib import metadata
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from edgeseg.core.protocols import EngineSession, EngineStatus
from edgeseg.runtime.engines.library import require

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeseg.core.artifact import Artifact
    from edgeseg.core.backend import ResolvedBackend
    from edgeseg.core.proof import ProofLevel

HARDWARE = "reference evaluator, not Apple hardware"


class MilSession:
    """A package's program in numpy; constants are decoded once, when it is opened."""

    def __init__(self, artifact: Artifact) -> None:
        from edgeseg.runtime.engines.mil.package import open_package
        from edgeseg.runtime.engines.mil.program import Program, read_program

        self._program: Program | None = read_program(
            open_package(artifact.entry), output_position=artifact.manifest.output_position
        )

    def run(self, tensor: np.ndarray) -> np.ndarray:
        """Return the output for an image (1, 3, H, W) uint8 in the package's colour order, or for an array."""
        assert self._program is not None, "the session was closed"
        return self._program.evaluate(tensor)

    def close(self) -> None:
        """Free the program."""
        self._program = None


class MilReference:
    """Evaluates ML programs op by op, with half-precision rounding where the program stores halves.

    It computes what the package means, so it can prove a conversion and measure mIoU anywhere. Its speed says nothing
    about any device, and `threads` is left to numpy's own library.
    """

    name = "mil-reference"
    formats = ("coreml",)
    extra = "coreml"
    proof: ProofLevel = "reference"
    delegates = ("numpy",)
    choices: Mapping[str, tuple[str, ...]] = {}

    def status(self) -> EngineStatus:
        """Return the version of coremltools, whose protobuf classes read the package; never raises."""
        fix = 'pip install "coremltools>=9.0"'
        try:
            if find_spec("coremltools") is None or find_spec("google.protobuf") is None:
                return EngineStatus(available=False, reason="coremltools is not installed:", fix=fix)
            version = f"numpy {np.__version__}, coremltools {metadata.version('coremltools')}"
        except (ImportError, metadata.PackageNotFoundError) as error:
            return EngineStatus(available=False, reason=f"coremltools is not usable ({error}):", fix=fix)
        return EngineStatus(available=True, version=version, reason=HARDWARE)

    def options(self) -> dict[str, str]:
        """Return what is special about this engine: its numbers count, its latency does not."""
        return {"hardware": HARDWARE, "latency": "meaningless"}

    def open(self, artifact: Artifact, *, backend: ResolvedBackend) -> EngineSession:
        """Return a session; raises `MissingDependency`, `ArtifactError`, or `UnsupportedError` naming unknown ops."""
        require(self.status())
        return MilSession(artifact)


ENGINE = MilReference()
