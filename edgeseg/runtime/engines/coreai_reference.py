"""The reference evaluator: what a Core AI program computes, on any machine that has its toolchain, in numpy."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseg.core.protocols import EngineSession, EngineStatus
from edgeseg.errors import ArtifactError, ConversionError, EdgesegError
from edgeseg.runtime.engines.apple_reference import HARDWARE, AppleReference, ReferenceSession
from edgeseg.toolchains import call_toolchain, find_toolchain, toolchain_status

if TYPE_CHECKING:
    from edgeseg.core.artifact import Artifact
    from edgeseg.core.backend import ResolvedBackend

_TOOLCHAIN = "coreai"
_READ_LIMIT_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """What coreai_reader.py returns."""

    version: str


def stored_text(entry: Path) -> str:
    """Return the MLIR text of a stored program, read by Apple's own library in the toolchain's environment.

    Raises:
        MissingDependency: the toolchain is not installed.
        ArtifactError: the file cannot be read.
    """
    with tempfile.TemporaryDirectory(prefix="edgeseg-") as folder:
        target = Path(folder) / "program.mlir"
        try:
            call_toolchain(
                _Answer,
                _TOOLCHAIN,
                Path(__file__).with_name("coreai_reader.py"),
                {"source": str(entry.resolve()), "target": str(target)},
                name="Core AI",
                log_folder=Path(folder),
                time_limit_s=_READ_LIMIT_S,
            )
        except ConversionError as error:
            # The log goes with the folder.
            said = str(error).partition(" Its log:")[0]
            raise ArtifactError(f"{entry}: cannot be read: {said}") from None
        return target.read_text("utf-8")


class CoreAIReference(AppleReference):
    """Evaluates Core AI programs."""

    name = "coreai-reference"
    formats = ("coreai",)
    extra = "train"

    def status(self) -> EngineStatus:
        """Return the toolchain's version, or the command that installs it; never raises."""
        try:
            tool = find_toolchain(_TOOLCHAIN)
            found = toolchain_status(tool)
        except EdgesegError as error:
            return EngineStatus(available=False, reason=str(error))
        if found.state != "installed":
            return EngineStatus(available=False, reason=f"{tool.title} {found.detail}:", fix=found.fix)
        return EngineStatus(available=True, version=tool.version, reason=HARDWARE)

    def open(self, artifact: Artifact, *, backend: ResolvedBackend) -> EngineSession:
        """Return a session; raises `MissingDependency`, `ArtifactError`, or `UnsupportedError` naming unknown ops."""
        from edgeseg.runtime.engines.coreai.program import read_coreai

        return ReferenceSession(read_coreai(stored_text(artifact.entry)))


ENGINE = CoreAIReference()
