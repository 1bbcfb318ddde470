"""The reference evaluator: what a Core AI program computes, on any machine that has its toolchain, in numpy."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeseg.core.protocols import EngineSession, EngineStatus
from edgeseg.errors import ArtifactError, ConversionError, EdgesegError
from edgeseg.toolchains import call_toolchain, find_toolchain, require_toolchain, toolchain_status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from edgeseg.core.artifact import Artifact
    from edgeseg.core.backend import ResolvedBackend
    from edgeseg.core.proof import ProofLevel
    from edgeseg.runtime.engines.coreai.program import CoreAIProgram

_TOOLCHAIN = "coreai"
_HARDWARE = "reference evaluator, not Apple hardware"
_READ_LIMIT_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """What coreai_reader.py returns."""

    version: str


class CoreAISession:
    """A program in numpy; its constants are decoded once, when it is opened."""

    def __init__(self, entry: Path) -> None:
        from edgeseg.runtime.engines.coreai.program import read_coreai

        self._program: CoreAIProgram | None = read_coreai(stored_text(entry))

    def run(self, tensor: NDArray[Any]) -> NDArray[Any]:
        """Return the output for an input tensor, both as the manifest says."""
        assert self._program is not None, "the session was closed"
        return self._program.evaluate(tensor)

    def close(self) -> None:
        """Free the program."""
        self._program = None


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


class CoreAIReference:
    """Evaluates Core AI programs op by op, with half-precision rounding where the program stores halves.

    It computes what the file means, so it can prove a conversion and measure mIoU anywhere. Its speed says nothing
    about any device, and `threads` is left to numpy's own library.
    """

    name = "coreai-reference"
    formats = ("coreai",)
    extra = "train"
    proof: ProofLevel = "reference"
    delegates = ("numpy",)
    choices: Mapping[str, tuple[str, ...]] = {}

    def status(self) -> EngineStatus:
        """Return the toolchain's version, or the command that installs it; never raises."""
        try:
            tool = find_toolchain(_TOOLCHAIN)
            found = toolchain_status(tool)
        except EdgesegError as error:
            return EngineStatus(available=False, reason=str(error))
        if found.state != "installed":
            return EngineStatus(available=False, reason=f"{tool.title} {found.detail}:", fix=found.fix)
        return EngineStatus(available=True, version=tool.version, reason=_HARDWARE)

    def options(self) -> dict[str, str]:
        """Return what is special about this engine: its numbers count, its latency does not."""
        return {"hardware": _HARDWARE, "latency": "meaningless"}

    def open(self, artifact: Artifact, *, backend: ResolvedBackend) -> EngineSession:
        """Return a session; raises `MissingDependency`, `ArtifactError`, or `UnsupportedError` naming unknown ops."""
        require_toolchain(_TOOLCHAIN)
        return CoreAISession(artifact.entry)


ENGINE = CoreAIReference()
