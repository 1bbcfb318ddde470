"""ExecuTorch: .pte files on the CPU through XNNPACK.

Its Python binding takes and gives torch tensors and is linked against libtorch, so this engine, and no other, needs
torch on the device. Both are imported when an artifact is opened, by name, and by nothing else in the runtime.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import weakref
from typing import TYPE_CHECKING, Any

from edgeseg.core.silence import native_output
from edgeseg.errors import ArtifactError, UnsupportedError
from edgeseg.runtime.engines.library import library_status, require

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np

    from edgeseg.core.artifact import Artifact
    from edgeseg.core.backend import ResolvedBackend
    from edgeseg.core.proof import ProofLevel
    from edgeseg.core.protocols import EngineSession, EngineStatus

_log = logging.getLogger(__name__)

# `executorch.runtime` wraps this one, but importing it loads the whole compiler with it (pandas, sympy, seconds).
BINDING = "executorch.extension.pybindings._C"
METHOD = "forward"
_INSTALL = 'pip install "edgeseg[executorch]"'


class ExecuTorchSession:
    """A program's `forward`, its buffers planned when it is opened."""

    def __init__(self, method: Any, *, threads: int) -> None:
        self.threads = threads
        self._method = method
        self._torch: Any = importlib.import_module("torch")

    def run(self, tensor: np.ndarray) -> np.ndarray:
        """Return the output, the caller's own copy; the method reuses its buffers."""
        assert self._method is not None, "the session was closed"
        # torch warns of arrays that it may not write to, and never writes to this one.
        writable = tensor if tensor.flags.writeable else tensor.copy()
        output: np.ndarray = self._method((self._torch.from_numpy(writable),))[0].numpy()
        return output

    @property
    def is_open(self) -> bool:
        """Whether it can still run."""
        return self._method is not None

    def close(self) -> None:
        """Free the program."""
        self._method = None


class ExecuTorch:
    """PyTorch's ExecuTorch with its XNNPACK backend.

    It has one pool of threads for the whole process, and opened programs hold on to it: sessions that are open at the
    same time share one number of threads.
    """

    name = "executorch"
    formats = ("executorch",)
    extra = "executorch"
    proof: ProofLevel = "engine"
    delegates = ("xnnpack",)
    choices: Mapping[str, tuple[str, ...]] = {}

    def __init__(self) -> None:
        self._open: weakref.WeakSet[ExecuTorchSession] = weakref.WeakSet()

    def status(self) -> EngineStatus:
        """Return the version of ExecuTorch, or the command that installs it; never raises."""
        torch = library_status(
            "torch", title="PyTorch, which ExecuTorch's binding needs,", distribution="torch", fix=_INSTALL
        )
        if not torch.available:
            return torch
        with _quiet():
            return library_status(BINDING, title="ExecuTorch", distribution="executorch", fix=_INSTALL)

    def options(self) -> dict[str, str]:
        """Return what changes numbers or speed."""
        return {"delegate": "xnnpack"}

    def open(self, artifact: Artifact, *, backend: ResolvedBackend) -> EngineSession:
        """Return a session.

        Raises:
            MissingDependency: ExecuTorch or torch is not installed.
            ArtifactError: ExecuTorch cannot open the file.
            UnsupportedError: an open session runs on another number of threads.
        """
        require(self.status())
        threads = backend.threads or 1
        library: Any = importlib.import_module(BINDING)
        try:
            with _quiet():
                self._set_threads(library, threads)
                program = library._load_program(  # noqa: SLF001 - the binding's only loader
                    str(artifact.entry), program_verification=library.Verification.InternalConsistency
                )
                method = program.load_method(METHOD)
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise ArtifactError(f"{artifact.entry}: ExecuTorch cannot open it: {reason[:300]}") from None
        session = ExecuTorchSession(method, threads=threads)
        self._open.add(session)
        return session

    def _set_threads(self, library: Any, threads: int) -> None:
        if library._threadpool_get_thread_count() == threads:  # noqa: SLF001 - not public
            return
        others = sorted({session.threads for session in self._open if session.is_open})
        if others:
            raise UnsupportedError(
                f"ExecuTorch has one pool of threads in a process, and a session on {others[0]} of them is open. Close "
                f"it before opening one on {threads}, or open both on the same number."
            )
        library._unsafe_reset_threadpool(threads)  # noqa: SLF001 - not public


ENGINE = ExecuTorch()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Send the library's messages about the processor to our log; it writes to Python's streams and to descriptors."""
    words = io.StringIO()
    with native_output(_log), contextlib.redirect_stderr(words), contextlib.redirect_stdout(words):
        yield
    for line in words.getvalue().splitlines():
        _log.debug("%s", line)
