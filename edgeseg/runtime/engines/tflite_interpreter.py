"""The `Interpreter` that LiteRT and tflite-runtime share."""

from __future__ import annotations

import importlib
import logging
from typing import TYPE_CHECKING, Any, Protocol

from edgeseg.core.silence import native_output
from edgeseg.errors import ArtifactError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from edgeseg.core.artifact import Artifact
    from edgeseg.core.backend import ResolvedBackend
    from edgeseg.core.protocols import EngineSession

_log = logging.getLogger(__name__)

RESOLVERS = {"": "AUTO", "xnnpack": "AUTO", "builtin": "BUILTIN_WITHOUT_DEFAULT_DELEGATES"}
"""Delegates by the name of the op resolver that applies them or leaves them out."""
_IDENTIFIER = b"TFL3"
"""Bytes 4 to 8 of every TFLite file (its FlatBuffers file identifier)."""


class Interpreter(Protocol):
    """The part of the vendors' class that is used here."""

    def allocate_tensors(self) -> None:
        """Allocate every buffer."""

    def resize_tensor_input(self, input_index: int, tensor_size: list[int]) -> None:
        """Change an input's shape; the buffers must be allocated afterwards."""

    def get_input_details(self) -> list[dict[str, Any]]:
        """Return index, shape and type of each input."""

    def get_output_details(self) -> list[dict[str, Any]]:
        """Return index, shape and type of each output."""

    def set_tensor(self, tensor_index: int, value: np.ndarray) -> None:
        """Copy a value into an input."""

    def get_tensor(self, tensor_index: int) -> np.ndarray:
        """Return a copy of a tensor."""

    def invoke(self) -> None:
        """Run the graph."""


class InterpreterSession:
    """A TFLite file in an interpreter, its buffers allocated once; XNNPACK is the default delegate of both wheels."""

    def __init__(
        self, interpreter: Interpreter, *, input_index: int, output_index: int, settings: dict[str, str]
    ) -> None:
        self.settings = settings
        self._interpreter: Interpreter | None = interpreter
        self._input_index = input_index
        self._output_index = output_index

    def run(self, tensor: np.ndarray) -> np.ndarray:
        """Return the output as a copy; the interpreter reuses its buffers."""
        interpreter = self._interpreter
        assert interpreter is not None, "the session was closed"
        interpreter.set_tensor(self._input_index, tensor)
        interpreter.invoke()
        return interpreter.get_tensor(self._output_index)

    def close(self) -> None:
        """Free the interpreter."""
        self._interpreter = None


def open_interpreter(
    artifact: Artifact, *, module: str, backend: ResolvedBackend, delegate: Path | None = None
) -> EngineSession:
    """Return a session of the artifact's TFLite file in the `Interpreter` of `module`, with a vendor's `delegate`.

    Raises:
        ArtifactError: not a TFLite file, or one that the library refuses.
    """
    path = artifact.entry
    _refuse_foreign_file(path)
    library = importlib.import_module(module)
    try:
        with native_output(_log):
            interpreter: Interpreter = library.Interpreter(
                model_path=str(path),
                num_threads=backend.threads,
                experimental_op_resolver_type=getattr(library.OpResolverType, RESOLVERS.get(backend.delegate, "AUTO")),
                experimental_delegates=[] if delegate is None else [library.load_delegate(str(delegate))],
            )
            _fix_size(interpreter, artifact)
            interpreter.allocate_tensors()
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    except (ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ArtifactError(f"{path}: {module.split('.', maxsplit=1)[0]} cannot open it: {reason[:300]}") from None
    position = artifact.manifest.output_position
    if len(inputs) != 1 or (len(outputs) != 1 and artifact.manifest.file is None) or len(outputs) <= position:
        raise ArtifactError(f"{path}: has {len(inputs)} inputs and {len(outputs)} outputs; one of each is needed.")
    return InterpreterSession(
        interpreter,
        input_index=inputs[0]["index"],
        output_index=outputs[position]["index"],
        settings=_settings(interpreter, backend.delegate, file=path, vendors=delegate is not None),
    )


def _settings(interpreter: Interpreter, delegate: str, *, file: Path, vendors: bool) -> dict[str, str]:
    """Return the delegate that runs, which is "builtin" where XNNPACK took no op.

    XNNPACK needs the CPU's description in /proc and /sys. In a container or emulator without them, the library prints
    one line and goes on with its built-in kernels: slower, and int8 values differ by a step or two.
    """
    operators = getattr(interpreter, "_get_ops_details", None)  # no public list names the delegate's ops
    wanted = RESOLVERS.get(delegate, "AUTO") == "AUTO"
    if vendors or not wanted or operators is None or any(item["op_name"] == "DELEGATE" for item in operators()):
        return {"delegate": delegate} if delegate else {}
    _log.warning(
        "%s: XNNPACK runs none of it here (does it find the CPU in /proc and /sys?); builtin kernels do.", file
    )
    return {"delegate": "builtin"}


def _fix_size(interpreter: Interpreter, artifact: Artifact) -> None:
    """Give an input of dynamic size the size that the manifest says."""
    file = artifact.manifest.file
    details = interpreter.get_input_details()
    if file is not None and len(details) == 1 and tuple(details[0]["shape"]) != file.input.shape:
        interpreter.resize_tensor_input(details[0]["index"], list(file.input.shape))


def _refuse_foreign_file(path: Path) -> None:
    # The interpreter follows the offsets in a file without checking them; a file of another kind may crash it.
    with path.open("rb") as stream:
        head = stream.read(8)
    if head[4:8] != _IDENTIFIER:
        raise ArtifactError(f"{path}: not a TFLite file. Copy or convert the artifact again.")
