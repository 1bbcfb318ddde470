"""What a plug-in promises: `Converter`, `Compiler`, `Engine`, `EngineSession`, `Camera`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from types import TracebackType

    from edgeseg.core.artifact import Artifact
    from edgeseg.core.backend import ResolvedBackend
    from edgeseg.core.exported import Conversion, ExportedModel, Part
    from edgeseg.core.proof import ProofLevel
    from edgeseg.core.quantization import Precision


Normalisation = Literal["graph", "host"]
"""Who subtracts mean and deviation: the graph, which then takes bytes, or the host, which then gives it floats."""


@runtime_checkable
class Converter(Protocol):
    """Produces a format from the exported graph. `check` is quick, imports nothing heavy and runs before any slow work.

    `title` is how people write the format, `suffix` how its entry's name ends, `engines` what runs it, best first, and
    `extra` the edgeseg extra that brings its libraries. `precisions` names the schemes that it can make, and `reads`
    the parts of an `ExportedModel` that it wants: what no converter of a run reads is not written. `normalisation` says
    what its graphs can be like, best first.
    """

    format: str
    title: str
    suffix: str
    engines: tuple[str, ...]
    extra: str
    precisions: tuple[Precision, ...]
    reads: tuple[Part, ...]
    normalisation: tuple[Normalisation, ...]

    def check(self) -> None:
        """Return if this machine can convert; raise `MissingDependency` or `UnsupportedError` otherwise."""

    def convert(self, exported: ExportedModel, *, folder: Path) -> Conversion:
        """Write the format's files into `folder` and return what they are; raises `ConversionError`."""


@runtime_checkable
class Compiler(Protocol):
    """Produces a file for one chip from an artifact of another format: int8 TFLite to Vela's, ONNX to a QNN context.

    `reads` is the format of the artifacts that it takes, `precisions` the schemes among them, and `format` what it
    produces. `options` maps each option to one line of help; other options are refused before anything slow.
    """

    name: str
    title: str
    suffix: str
    reads: str
    format: str
    precisions: tuple[Precision, ...]
    options: Mapping[str, str]

    def check(self) -> None:
        """Return if this machine can compile; raise `MissingDependency` or `UnsupportedError` otherwise."""

    def compile(self, artifact: Artifact, *, folder: Path, options: Mapping[str, str]) -> Conversion:
        """Write the compiled files into `folder` and return what they are; raises `ConversionError`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStatus:
    """Whether an engine runs here: its library's version, or the reason why not and the command that mends it."""

    available: bool
    version: str = ""
    reason: str = ""
    mend: str = ""


@runtime_checkable
class EngineSession(Protocol):
    """One opened artifact.
    `run` takes the exact input tensor (manifest's shape and dtype) and returns the output tensor.
    """

    def run(self, tensor: np.ndarray) -> np.ndarray: ...
    def close(self) -> None: ...


@runtime_checkable
class OverlappingSession(EngineSession, Protocol):
    """One opened artifact of an engine that can work at several tensors at once, `requests` at most.

    `start` begins with a tensor, and returns the function that waits for its output and returns it, to be called once.
    """

    @property
    def requests(self) -> int: ...
    def start(self, tensor: np.ndarray) -> Callable[[], np.ndarray]: ...


@runtime_checkable
class Engine(Protocol):
    """Runs a format. `status` never raises; `open` raises `MissingDependency`,
    `UnsupportedError` or `ArtifactError`.

    `proof` is the level of what it proves: "engine" where devices run the same library, "simulator" for a vendor's
    simulator of a chip, "reference" for an evaluator of ours. `delegates` are the accelerator plug-ins that it can use,
    its default first. `choices` are the options of a target's `[backends.options]` table that it reads, each with the
    values that it takes; none means any text.
    """

    name: str
    formats: tuple[str, ...]
    extra: str
    proof: ProofLevel
    delegates: tuple[str, ...]
    choices: Mapping[str, tuple[str, ...]]

    def status(self) -> EngineStatus: ...
    def options(self) -> dict[str, str]:
        """Return the settings that change numbers or speed, for the Measurement."""

    def open(self, artifact: Artifact, *, backend: ResolvedBackend) -> EngineSession:
        """Return a session with this delegate, these options and threads, checked against what the engine declares."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One image of a source: (H, W, 3) BGR uint8, its number in the source, when it was taken (`time.monotonic`
    seconds).

    `media_s` is its time in a recorded video, None for a live source. `labels` is the ground truth (H, W) uint8 where
    the source knows it, and `classes` are its names.
    """

    index: int
    image: np.ndarray
    captured_s: float
    media_s: float | None = None
    labels: np.ndarray | None = None
    classes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraCounts:
    """What became of a source's frames until now: captured = delivered + skipped + corrupt + waiting.

    `skipped` were replaced by a newer frame before anybody took them, `corrupt` could not be decoded, and `waiting`
    (0 or 1) can be taken now. `concealed` of the delivered ones have parts that the decoder filled in, `missing` were
    announced by a file that ended before them, and `reconnects` counts connections made again after a loss.
    """

    captured: int = 0
    delivered: int = 0
    skipped: int = 0
    corrupt: int = 0
    waiting: int = 0
    reconnects: int = 0
    concealed: int = 0
    missing: int = 0


@runtime_checkable
class Camera(Protocol):
    """A context manager of frames. A live one gives the newest frame and counts what it skipped;
    a file gives every frame. `frames` may end in `CameraError`; an image may differ in size from the one before it.
    """

    live: bool
    fps: float

    @property
    def skipped(self) -> int:
        """Return `counts.skipped`."""

    @property
    def counts(self) -> CameraCounts:
        """Return what became of the frames until now; may be asked from any thread."""

    @property
    def trouble(self) -> str:
        """Return why no frame comes just now ("... Connecting again."), or an empty text; from any thread."""

    def __enter__(self) -> Camera: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def frames(self) -> Iterator[Frame]: ...
    def stop(self) -> None:
        """End `frames` at once, wherever it waits, also amid a reconnection; from any thread, any number of times."""
