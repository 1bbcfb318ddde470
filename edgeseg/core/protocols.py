"""What a plug-in promises: `Converter`, `Compiler`, `Engine` and their optional parts, `Camera`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray

    from edgeseg.core.artifact import Artifact
    from edgeseg.core.backend import ResolvedBackend
    from edgeseg.core.exported import Conversion, ExportedModel, Part
    from edgeseg.core.placement import OpPlacement
    from edgeseg.core.proof import ProofLevel
    from edgeseg.core.quantization import Precision
    from edgeseg.core.quantization_rules import QuantizationRules


Normalisation = Literal["graph", "host"]
"""Where mean and deviation are applied: in the graph, which then takes bytes, or on the host, which passes floats."""


LayerFormat = Literal["onnx", "tflite"]
"""The format of a file with a single layer."""


@runtime_checkable
class Converter(Protocol):
    """Produces a format from the exported graph. `check` is quick, imports nothing heavy and runs before any slow work.

    `title` is the format's name in messages, `suffix` the ending of its entry's file name, `engines` the engines that
    run it, best first, and `extra` the edgeseg extra that installs its libraries. `precisions` lists the schemes it can
    produce, and `reads` the parts of an `ExportedModel` it needs; parts that no converter reads are not written.
    `normalisation` lists the variants it supports, best first.
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
class RuledConverter(Converter, Protocol):
    """A converter whose format has quantization rules of its own; those of others are `DEFAULT_RULES`."""

    rules: QuantizationRules


@runtime_checkable
class DescribedConverter(Converter, Protocol):
    """A converter whose artifacts say how an app runs them without edgeseg, in USAGE.md.

    `usage` is Python code from `tensor` to `output`, imports first, with the places {entry}, {input} and {output}.
    """

    usage: str


@runtime_checkable
class VersionedConverter(Converter, Protocol):
    """A converter that can write its format for older runtimes, by ONNX's names of versions."""

    def at_versions(self, *, opset: int | None, ir_version: int | None) -> Converter:
        """Return the converter for these versions; raises `InputError` for one that cannot be written."""
        ...


@runtime_checkable
class Compiler(Protocol):
    """Produces a file for one chip from an artifact of another format: int8 TFLite to Vela's, ONNX to a QNN context.

    `reads` is the input format, `precisions` the schemes it accepts, and `format` the output format. `options` maps
    each option to one line of help; unknown options are refused before any slow work.
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
    """Whether an engine runs here: its library's version, or the reason why not and the command that fixes it."""

    available: bool
    version: str = ""
    reason: str = ""
    fix: str = ""


@runtime_checkable
class EngineSession(Protocol):
    """One opened artifact."""

    def run(self, tensor: NDArray[Any]) -> NDArray[Any]:
        """Return the output tensor for an input tensor, both with the shape and dtype of the manifest."""
        ...

    def close(self) -> None:
        """Release the engine's resources; calling it twice does no harm."""


@runtime_checkable
class OverlappingSession(EngineSession, Protocol):
    """One opened artifact of an engine that can process several tensors at once."""

    @property
    def requests(self) -> int:
        """The largest number of tensors in flight."""
        ...

    def start(self, tensor: NDArray[Any]) -> Callable[[], NDArray[Any]]:
        """Start inference on a tensor; return a function that waits for its output, to be called exactly once."""
        ...


@runtime_checkable
class Engine(Protocol):
    """Runs a format.

    `proof` is the proof level it gives: "engine" where devices run the same library, "simulator" for a vendor's
    simulator of a chip, "reference" for an evaluator of ours. `delegates` lists the accelerator plug-ins it can use,
    the default first. `choices` maps each option of a target's `[backends.options]` table that it reads to the accepted
    values; an empty tuple accepts any text.
    """

    name: str
    formats: tuple[str, ...]
    extra: str
    proof: ProofLevel
    delegates: tuple[str, ...]
    choices: Mapping[str, tuple[str, ...]]

    def status(self) -> EngineStatus:
        """Return whether the engine runs on this machine; never raises."""
        ...

    def options(self) -> dict[str, str]:
        """Return the settings that change numbers or speed, for the Measurement."""

    def open(self, artifact: Artifact, *, backend: ResolvedBackend) -> EngineSession:
        """Return a session with the backend's delegate, options and threads, checked against what the engine declares.

        Raises:
            MissingDependency: the engine's library is not installed.
            UnsupportedError: the engine cannot run this artifact or backend.
            ArtifactError: the artifact's files cannot be loaded.
        """


@runtime_checkable
class PlacingEngine(Engine, Protocol):
    """An engine that tells, from a run, which unit computed each op of an artifact."""

    def placements(self, artifact: Artifact, *, backend: ResolvedBackend) -> tuple[OpPlacement, ...]:
        """Return where each op ran for one input of zeros; raises as `open`."""
        ...


@runtime_checkable
class LayerTimingEngine(Engine, Protocol):
    """An engine that can time a single layer, for latency tables and pruning to a time.

    `layer_format` is the format of the file that holds the layer.
    """

    layer_format: LayerFormat

    def layer_ms(self, file: Path, *, threads: int, image: NDArray[Any], runs: int) -> float:
        """Return the median milliseconds of the layer in `file` over `runs` runs after a warm-up.

        Steps that only convert a tensor to the engine's own layout and back do not count: a net has them once.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One image of a source, (H, W, 3) uint8 BGR, with its number and capture time (`time.monotonic` seconds).

    `media_s` is the time in a recorded video, None for a live source. `labels` is the ground truth (H, W) uint8, if the
    source has one, and `classes` its class names.
    """

    index: int
    image: NDArray[np.uint8]
    captured_s: float
    media_s: float | None = None
    labels: NDArray[np.uint8] | None = None
    classes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraCounts:
    """A source's frame counts so far: captured = delivered + skipped + corrupt + waiting.

    `skipped` frames were replaced by a newer one before they were read, `corrupt` ones could not be decoded, and
    `waiting` (0 or 1) can be read now. Of the delivered frames, `concealed` have parts filled in by the decoder.
    `missing` counts frames announced by a file that ended early, `reconnects` connections restored after a loss.
    `damage` says what is wrong with the corrupt ones, where that is known.
    """

    captured: int = 0
    delivered: int = 0
    skipped: int = 0
    corrupt: int = 0
    waiting: int = 0
    reconnects: int = 0
    concealed: int = 0
    missing: int = 0
    damage: str = ""


@runtime_checkable
class Camera(Protocol):
    """A context manager that yields frames.

    A live camera yields the newest frame and counts those it skipped; a file yields every frame. Frames may change
    their size.
    """

    live: bool
    fps: float

    @property
    def skipped(self) -> int:
        """Return `counts.skipped`."""

    @property
    def counts(self) -> CameraCounts:
        """Return the frame counts so far; safe to call from any thread."""

    @property
    def trouble(self) -> str:
        """Return why frames are not arriving ("... Connecting again."), or an empty string; safe from any thread."""

    def __enter__(self) -> Camera: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def frames(self) -> Iterator[Frame]:
        """Yield frames until the source ends or `stop` is called; raises `CameraError` where the source fails."""
        ...

    def stop(self) -> None:
        """End `frames` at once, even during a reconnection; safe from any thread, any number of times."""
