"""An opened artifact: image in, labels out."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from edgeseg.core.protocols import Engine, EngineSession, OverlappingSession
from edgeseg.errors import ArtifactError, EdgesegError, InputError
from edgeseg.runtime.process_settings import share_one_heap
from edgeseg.runtime.session.engine_choice import choose_backend, choose_engine

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from edgeseg.core.artifact import Artifact
    from edgeseg.core.backend import ResolvedBackend
    from edgeseg.core.spec import TensorSpec

_T = TypeVar("_T")


def open_session(artifact: Artifact, *, engine: str | None = None, threads: int | None = None) -> Session:
    """Return a session on an artifact that was opened or made in this process; see `load` for arguments and errors."""
    share_one_heap()
    chosen = choose_engine(artifact.manifest, name=engine)
    backend = choose_backend(artifact.manifest, engine=chosen, threads=threads)
    runner = chosen.open(artifact, backend=backend)
    if artifact.manifest.file is not None:
        from edgeseg.runtime.session.file_runner import file_session

        runner = file_session(runner, file=artifact.manifest.file)
    return Session(artifact, engine=chosen, runner=runner, backend=backend)


class Session:
    """One artifact on one engine; a context manager.

    Thread-safe: concurrent inferences wait for each other, because engines reuse their buffers.
    """

    def __init__(self, artifact: Artifact, *, engine: Engine, runner: EngineSession, backend: ResolvedBackend) -> None:
        self.artifact = artifact
        self.backend = backend
        self._lock = threading.RLock()
        self._engine = engine
        self._runner: EngineSession | None = runner
        self._input = artifact.manifest.inputs[0]
        self._input_dtype = np.dtype(self._input.dtype)
        self._output = artifact.manifest.outputs[0]
        self._preprocess = artifact.manifest.preprocess
        self._under_way = 0

    @property
    def engine(self) -> str:
        """Name of the engine that runs the artifact."""
        return self._engine.name

    @property
    def threads(self) -> int:
        """Number of threads that the engine runs on."""
        return self.backend.threads or 1

    @property
    def engine_version(self) -> str:
        """Version of the engine's library."""
        return self._engine.status().version

    @property
    def options(self) -> dict[str, str]:
        """The engine's settings that change numbers or speed, as they are for this artifact."""
        return {**self._engine.options(), **self.backend.options, **getattr(self._runner, "settings", {})}

    @property
    def input(self) -> TensorSpec:
        """What `infer` takes."""
        return self._input

    @property
    def output(self) -> TensorSpec:
        """What `infer` returns."""
        return self._output

    def preprocess(self, image: np.ndarray) -> np.ndarray:
        """Return the exact input tensor of an image (H, W, 3) BGR uint8; raises `InputError` for anything else."""
        from edgeseg.pixels import prepare

        return prepare(image, preprocess=self._preprocess, tensor=self._input)

    def infer(self, tensor: np.ndarray) -> np.ndarray:
        """Return the engine's output for an input tensor of the manifest's shape and dtype.

        Raises:
            InputError: another shape or dtype, or a session that was closed.
            ArtifactError: the engine fails, gives another shape than the manifest says, or NaN or infinity.
        """
        runner = self._checked(tensor)
        with self._lock:
            return self._whole(self._guarded(runner.run, tensor))

    @property
    def requests(self) -> int:
        """How many inferences may run at once; 1 if the engine runs them one by one."""
        return self._runner.requests if isinstance(self._runner, OverlappingSession) else 1

    def start(self, tensor: np.ndarray) -> Callable[[], np.ndarray]:
        """Start an inference, and return a function that waits for the output and returns it; call it once.

        Several at once take longer each and less in total: for files, not for live images. If the engine cannot
        overlap them, the inference is done when this returns. Outputs and errors are those of `infer`, raised here or
        by the function; also raises `InputError` if `requests` inferences are already running.
        """
        runner = self._checked(tensor)
        if not isinstance(runner, OverlappingSession):
            output = self.infer(tensor)
            return lambda: output
        with self._lock:
            if self._under_way >= runner.requests:
                raise InputError(f"{self._under_way} inferences are running, the maximum. Finish one of them first.")
            finish = self._guarded(runner.start, tensor)
            self._under_way += 1

        def finished() -> np.ndarray:
            with self._lock:
                self._under_way -= 1
            return self._whole(self._guarded(finish))

        return finished

    def _checked(self, tensor: np.ndarray) -> EngineSession:
        if self._runner is None:
            raise InputError(f"{self.artifact.folder}: this session was closed. Load the artifact again.")
        if tensor.shape != self._input.shape or tensor.dtype != self._input_dtype:
            raise InputError(
                f"The tensor is {tensor.shape} {tensor.dtype}; {self.artifact.manifest.name} takes "
                f"{self._input.shape} {self._input.dtype}. Make it with session.preprocess(image)."
            )
        return self._runner

    def _whole(self, output: np.ndarray) -> np.ndarray:
        if output.shape != self._output.shape:
            raise self._fault(f"{self.engine} gives {output.shape}; the manifest says {self._output.shape}.")
        if output.dtype.kind == "f" and not np.isfinite(output).all():
            raise self._fault(f"{self.engine} gives NaN or infinity, which cannot be decoded to labels.")
        return output

    def _guarded(self, work: Callable[..., _T], *arguments: np.ndarray) -> _T:
        try:
            return work(*arguments)
        except EdgesegError:
            raise
        except Exception as error:  # noqa: BLE001 - each engine has its own exceptions
            raise self._fault(f"{self.engine} failed on it: {' '.join(str(error).split())[:300]}") from None

    def _fault(self, what: str) -> ArtifactError:
        return ArtifactError(f"{self.artifact.entry}: {what} Convert the artifact again, or try another --engine.")

    def decode(self, output: np.ndarray, *, size: tuple[int, int]) -> np.ndarray:
        """Return class ids, (H, W) uint8 at `size`, the image's (height, width), from what `infer` returned."""
        from edgeseg.pixels import decode

        return decode(output, tensor=self._output, preprocess=self._preprocess, input_size=self._input.size, size=size)

    def segment(self, image: np.ndarray | str | Path) -> np.ndarray:
        """Return class ids, (H, W) uint8, of an image (H, W, 3) BGR uint8 or an image file, at the image's own size.

        A file is read as in training: rotated by its EXIF orientation.

        Raises:
            InputError: not an image, or a file that cannot be read as one.
        """
        if isinstance(image, (str, Path)):
            from edgeseg.data.reading import read_image

            image = read_image(Path(image))
        tensor = self.preprocess(image)
        return self.decode(self.infer(tensor), size=(image.shape[0], image.shape[1]))

    def close(self) -> None:
        """Free the engine's memory; a second call does nothing."""
        if self._runner is not None:
            self._runner.close()
            self._runner = None

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
