"""Engine sessions of foreign files: the file's own tensors outside, the manifest's inside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeseg.core.protocols import OverlappingSession
from edgeseg.pixels.file_output import session_output

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from edgeseg.core.file_io import FileIO
    from edgeseg.core.protocols import EngineSession


class FileSession:
    """An opened foreign file: takes and returns the tensors of the manifest."""

    def __init__(self, runner: EngineSession, *, file: FileIO) -> None:
        self.settings: dict[str, str] = getattr(runner, "settings", {})
        self._runner = runner
        self._file = file

    def run(self, tensor: NDArray[Any]) -> NDArray[Any]:
        """Return logits, probabilities or labels, as the manifest's output says."""
        return session_output(self._runner.run(tensor.reshape(self._file.input.shape)), file=self._file)

    def close(self) -> None:
        """Release the engine's resources."""
        self._runner.close()


class OverlappingFileSession(FileSession):
    """The same on an engine that can process several tensors at once."""

    def __init__(self, runner: OverlappingSession, *, file: FileIO) -> None:
        super().__init__(runner, file=file)
        self._overlapping = runner

    @property
    def requests(self) -> int:
        """The largest number of tensors in flight."""
        return self._overlapping.requests

    def start(self, tensor: NDArray[Any]) -> Callable[[], NDArray[Any]]:
        """Start inference on a tensor; return a function that waits for its output."""
        finish = self._overlapping.start(tensor.reshape(self._file.input.shape))
        return lambda: session_output(finish(), file=self._file)


def file_session(runner: EngineSession, *, file: FileIO) -> EngineSession:
    """Return the session of a foreign file around an engine's."""
    if isinstance(runner, OverlappingSession):
        return OverlappingFileSession(runner, file=file)
    return FileSession(runner, file=file)
