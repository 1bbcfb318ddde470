"""The reference evaluator: what a Core ML package computes, on any machine, in numpy."""

from __future__ import annotations

from importlib import metadata
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from edgeseg.core.protocols import EngineSession, EngineStatus
from edgeseg.runtime.engines.apple_reference import HARDWARE, AppleReference, ReferenceSession
from edgeseg.runtime.engines.library import require

if TYPE_CHECKING:
    from edgeseg.core.artifact import Artifact
    from edgeseg.core.backend import ResolvedBackend


class MilReference(AppleReference):
    """Evaluates ML programs; the input is an image (1, 3, H, W) uint8 in the package's colour order, or an array."""

    name = "mil-reference"
    formats = ("coreml",)
    extra = "coreml"

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

    def open(self, artifact: Artifact, *, backend: ResolvedBackend) -> EngineSession:
        """Return a session; raises `MissingDependency`, `ArtifactError`, or `UnsupportedError` naming unknown ops."""
        require(self.status())
        from edgeseg.runtime.engines.mil.package import open_package
        from edgeseg.runtime.engines.mil.program import read_program

        package = open_package(artifact.entry)
        return ReferenceSession(read_program(package, output_position=artifact.manifest.output_position))


ENGINE = MilReference()
