"""What the evaluators of Apple's formats share: they compute in numpy what a file means, on any machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from edgeseg.core.proof import ProofLevel

HARDWARE = "reference evaluator, not Apple hardware"


class EvaluatedProgram(Protocol):
    """A program that was read; its constants are decoded once."""

    def evaluate(self, tensor: NDArray[Any], /) -> NDArray[Any]:
        """Return the output for an input tensor, both as the manifest says."""


class ReferenceSession:
    """A program in numpy."""

    def __init__(self, program: EvaluatedProgram) -> None:
        self._program: EvaluatedProgram | None = program

    def run(self, tensor: NDArray[Any]) -> NDArray[Any]:
        """Return the output for an input tensor, both as the manifest says."""
        assert self._program is not None, "the session was closed"
        return self._program.evaluate(tensor)

    def close(self) -> None:
        """Free the program."""
        self._program = None


class AppleReference:
    """Evaluates programs op by op, with half-precision rounding where the program stores halves.

    It computes what the file means, so it can prove a conversion and measure mIoU anywhere. Its speed says nothing
    about any device, and `threads` is left to numpy's own library.
    """

    proof: ProofLevel = "reference"
    delegates = ("numpy",)
    choices: Mapping[str, tuple[str, ...]] = {}

    def options(self) -> dict[str, str]:
        """Return what is special about this engine: its numbers count, its latency does not."""
        return {"hardware": HARDWARE, "latency": "meaningless"}
